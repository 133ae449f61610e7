// Reading and rewriting of a text with the places of its bytes.
#include "text/form.h"
#include "base/memory.h"
#include "base/utf8.h"
#include <stdlib.h>
#include <string.h>

qn_status qn_form_reserve(qn_form *form, size_t need) {
    if (need <= form->capacity) return QN_OK;
    if (need > INT32_MAX) return qn_fail(QN_ERROR_ARGUMENT, "a text that is above 2 GiB when normalised");
    size_t wanted = need + need / 2 + 256;
    char *text = qn_realloc(form->text, wanted, 1);
    if (!text) return QN_ERROR_MEMORY;
    form->text = text;
    qn_align *aligns = qn_realloc(form->aligns, wanted, sizeof *aligns);
    if (!aligns) return QN_ERROR_MEMORY;
    form->aligns = aligns;
    form->capacity = wanted;
    return QN_OK;
}

void qn_form_free(qn_form *form) {
    free(form->text);
    free(form->aligns);
    *form = (qn_form){0};
}

qn_status qn_form_append(qn_form *form, const char *text, size_t size, qn_align align) {
    QN_TRY(qn_form_reserve(form, form->size + size));
    for (size_t i = 0; i < size; i++) {
        form->text[form->size] = text[i];
        form->aligns[form->size++] = align;
    }
    return QN_OK;
}

qn_status qn_form_read(qn_form *form, const char *text, size_t from, size_t to, int32_t *character) {
    int32_t number = *character;
    form->size = 0;
    QN_TRY(qn_form_reserve(form, to - from + 8));
    for (size_t i = from; i < to;) {
        if ((uint8_t)text[i] < 0x80) {
            if (form->size + 1 > form->capacity) QN_TRY(qn_form_reserve(form, form->size + (to - i)));
            form->text[form->size] = text[i];
            form->aligns[form->size++] = (qn_align){(int32_t)i, (int32_t)i + 1, number++};
            i++;
            continue;
        }
        int32_t code;
        size_t length = qn_utf8_next(text + i, to - i, &code);
        qn_align align = {(int32_t)i, (int32_t)(i + length), number++};
        if (code < 0)
            QN_TRY(qn_form_append(form, "\xEF\xBF\xBD", 3, align));
        else
            QN_TRY(qn_form_append(form, text + i, length, align));
        i += length;
    }
    *character = number;
    return QN_OK;
}

void qn_rewrite_begin(qn_rewrite *rewrite, const qn_form *from, qn_form *to) {
    *rewrite = (qn_rewrite){.from = from, .to = to};
    if (from->size > 0) rewrite->origin = from->aligns[0];
    rewrite->origin.end = rewrite->origin.start;
    to->size = 0;
}

static inline size_t length_at(const qn_form *form, size_t offset) {
    uint32_t code;
    return offset < form->size ? qn_form_next(form->text + offset, &code) : 0;
}

qn_status qn_rewrite_put(qn_rewrite *r, uint32_t code, int32_t change) {
    const qn_form *from = r->from;
    qn_align align = r->origin;
    if (change > 0) {
        if (r->offset > 0) align = from->aligns[r->offset - 1];
    } else if (from->size > 0) {
        align = from->aligns[r->offset < from->size ? r->offset : from->size - 1];
        for (int32_t i = 0; i <= -change; i++) r->offset += length_at(from, r->offset);
    }
    char bytes[4];
    return qn_form_append(r->to, bytes, qn_utf8_put(bytes, (int32_t)code), align);
}

qn_status qn_rewrite_keep(qn_rewrite *r, size_t length) {
    QN_TRY(qn_form_reserve(r->to, r->to->size + length));
    memcpy(r->to->text + r->to->size, r->from->text + r->offset, length);
    memcpy(r->to->aligns + r->to->size, r->from->aligns + r->offset, length * sizeof(qn_align));
    r->to->size += length;
    r->offset += length;
    return QN_OK;
}
