// The normalisers of tokenizer.json. Each rewrites the whole form; most texts are left as they are by most steps, and
// ASCII by nearly all, which is found out first.
#include "base/memory.h"
#include "base/utf8.h"
#include "text/steps.h"
#include "text/unicode.h"
#include <stdlib.h>
#include <string.h>

static bool is_ascii(const qn_form *form) {
    uint8_t bits = 0;
    for (size_t i = 0; i < form->size; i++) bits |= (uint8_t)form->text[i];
    return bits < 0x80;
}

static void swap_forms(qn_work *work) {
    qn_form form = work->form;
    work->form = work->other;
    work->other = form;
}

// --- Normal forms ---------------------------------------------------------------------------------------------------

static qn_status decompose(qn_work *work, bool compatible, size_t *count) {
    const qn_form *form = &work->form;
    *count = 0;
    for (size_t i = 0; i < form->size;) {
        uint32_t code, parts[18];
        i += qn_form_next(form->text + i, &code);
        size_t length = compatible ? qn_unicode_decompose_compatible(code, parts) : qn_unicode_decompose(code, parts);
        QN_TRY(qn_grow((void **)&work->chars, &work->chars_capacity, *count + length, sizeof *work->chars));
        for (size_t j = 0; j < length; j++)
            work->chars[(*count)++] = (qn_normal_char){parts[j], j > 0, qn_unicode_combining_class(parts[j])};
    }
    return QN_OK;
}

// Canonical order of a run of marks: by class, equal ones as they were, in linear time.
static qn_status sort_marks(qn_work *work, qn_normal_char *marks, size_t count) {
    bool sorted = true;
    for (size_t i = 1; i < count && sorted; i++) sorted = marks[i - 1].order <= marks[i].order;
    if (sorted) return QN_OK;
    QN_TRY(qn_grow((void **)&work->sorted, &work->sorted_capacity, count, sizeof *marks));
    size_t starts[257] = {0};
    for (size_t i = 0; i < count; i++) starts[marks[i].order + 1]++;
    for (size_t i = 1; i < 257; i++) starts[i] += starts[i - 1];
    for (size_t i = 0; i < count; i++) work->sorted[starts[marks[i].order]++] = marks[i];
    memcpy(marks, work->sorted, count * sizeof *marks);
    return QN_OK;
}

static qn_status order_marks(qn_work *work, size_t count) {
    for (size_t i = 0; i < count;) {
        if (work->chars[i].order == 0) {
            i++;
            continue;
        }
        size_t end = i + 1;
        while (end < count && work->chars[end].order != 0) end++;
        QN_TRY(sort_marks(work, work->chars + i, end - i));
        i = end;
    }
    return QN_OK;
}

// In place; returns how many are left. A mark is blocked by one before it of the same or a higher class.
static size_t compose(qn_normal_char *chars, size_t count) {
    size_t out = 0, starter = SIZE_MAX;
    uint32_t last = 0; // class of the last mark that stayed behind the starter
    for (size_t i = 0; i < count; i++) {
        qn_normal_char c = chars[i];
        if (starter != SIZE_MAX && (last == 0 || last < c.order)) {
            uint32_t joined = qn_unicode_compose(chars[starter].code, c.code);
            if (joined) {
                chars[starter].code = joined;
                chars[starter].change += c.change - 1;
                continue;
            }
        }
        if (c.order == 0) starter = out;
        last = c.order;
        chars[out++] = c;
    }
    return out;
}

// Characters that NFC leaves as they are, the first ones also NFKC, and that compose with nothing before them; beside
// these, NFC leaves all below U+0300.
static bool is_composed(const qn_form *form, bool compatible) {
    static const struct {
        uint32_t first, last;
        bool compatible;
    } stable[] = {{0x391, 0x3CE, true},    {0x400, 0x482, true},    {0x48A, 0x52F, true},   {0x5D0, 0x5EA, true},
                  {0x621, 0x64A, true},    {0x905, 0x939, true},    {0xE01, 0xE30, true},   {0x1E00, 0x1EFF, false},
                  {0x2010, 0x2027, false}, {0x2030, 0x205E, false}, {0x2190, 0x21FF, true}, {0x2500, 0x27BF, true},
                  {0x3000, 0x3000, false}, {0x3001, 0x3029, true},  {0x3041, 0x3096, true}, {0x30A1, 0x30FE, true},
                  {0x3400, 0x4DBF, true},  {0x4E00, 0x9FFF, true},  {0xAC00, 0xD7A3, true}, {0xFF01, 0xFFEF, false},
                  {0x1F300, 0x1FAFF, true}};
    enum { RANGES = sizeof stable / sizeof stable[0] };
    uint32_t limit = compatible ? 0x80 : 0x300, code;
    for (size_t i = 0; i < form->size;) {
        i += qn_form_next(form->text + i, &code);
        if (code < limit) continue;
        size_t k = 0;
        while (k < RANGES && code > stable[k].last) k++;
        if (k == RANGES || code < stable[k].first || (compatible && !stable[k].compatible)) return false;
    }
    return true;
}

static qn_status normal_form(qn_work *work, bool composed, bool compatible) {
    if (composed ? is_composed(&work->form, compatible) : is_ascii(&work->form)) return QN_OK;
    size_t count = 0;
    QN_TRY(decompose(work, compatible, &count));
    QN_TRY(order_marks(work, count));
    if (composed) count = compose(work->chars, count);
    qn_rewrite r;
    qn_rewrite_begin(&r, &work->form, &work->other);
    for (size_t i = 0; i < count; i++) QN_TRY(qn_rewrite_put(&r, work->chars[i].code, work->chars[i].change));
    swap_forms(work);
    return QN_OK;
}

// --- Characters -----------------------------------------------------------------------------------------------------

static qn_status lowercase(qn_work *work) {
    if (is_ascii(&work->form)) {
        for (size_t i = 0; i < work->form.size; i++)
            if (work->form.text[i] >= 'A' && work->form.text[i] <= 'Z') work->form.text[i] += 32;
        return QN_OK;
    }
    qn_rewrite r;
    qn_rewrite_begin(&r, &work->form, &work->other);
    for (size_t i = 0; i < work->form.size;) {
        uint32_t code, lower[2];
        i += qn_form_next(work->form.text + i, &code);
        size_t count = qn_unicode_lower(code, lower);
        for (size_t j = 0; j < count; j++) QN_TRY(qn_rewrite_put(&r, lower[j], j > 0));
    }
    swap_forms(work);
    return QN_OK;
}

static bool drops_mark(uint32_t code) {
    return code >= 0x300 && qn_unicode_is_combining(code);
}

static bool drops_accent(uint32_t code) {
    return code >= 0x300 && qn_unicode_is_mark(code);
}

static bool drops_control(uint32_t code) {
    return (code < 0x20 || code > 0x7E) && qn_unicode_is_removed(code);
}

static qn_status filter(qn_work *work, bool (*drop)(uint32_t code)) {
    qn_rewrite r;
    qn_rewrite_begin(&r, &work->form, &work->other);
    for (size_t i = 0; i < work->form.size;) {
        uint32_t code;
        size_t length = qn_form_next(work->form.text + i, &code);
        i += length;
        if (drop(code))
            r.offset += length;
        else
            QN_TRY(qn_rewrite_keep(&r, length));
    }
    swap_forms(work);
    return QN_OK;
}

static qn_status clean(qn_work *work) {
    QN_TRY(filter(work, drops_control));
    qn_rewrite r;
    qn_rewrite_begin(&r, &work->form, &work->other);
    for (size_t i = 0; i < work->form.size;) {
        uint32_t code;
        i += qn_form_next(work->form.text + i, &code);
        QN_TRY(qn_rewrite_put(&r, qn_unicode_is_space(code) ? ' ' : code, 0));
    }
    swap_forms(work);
    return QN_OK;
}

static qn_status space_chinese(qn_work *work) {
    if (is_ascii(&work->form)) return QN_OK;
    qn_rewrite r;
    qn_rewrite_begin(&r, &work->form, &work->other);
    for (size_t i = 0; i < work->form.size;) {
        uint32_t code;
        i += qn_form_next(work->form.text + i, &code);
        bool chinese = qn_unicode_is_chinese(code);
        if (chinese) QN_TRY(qn_rewrite_put(&r, ' ', 0));
        QN_TRY(qn_rewrite_put(&r, code, chinese));
        if (chinese) QN_TRY(qn_rewrite_put(&r, ' ', 1));
    }
    swap_forms(work);
    return QN_OK;
}

static qn_status strip(qn_work *work, bool left, bool right) {
    qn_form *form = &work->form;
    size_t start = 0, end = form->size;
    uint32_t code;
    while (left && start < end) {
        size_t length = qn_form_next(form->text + start, &code);
        if (!qn_unicode_is_space(code)) break;
        start += length;
    }
    while (right && end > start) {
        size_t before = end - 1;
        while (((uint8_t)form->text[before] & 0xC0) == 0x80) before--;
        qn_form_next(form->text + before, &code);
        if (!qn_unicode_is_space(code)) break;
        end = before;
    }
    form->size = end - start;
    if (start > 0 && form->size > 0) {
        memmove(form->text, form->text + start, form->size);
        memmove(form->aligns, form->aligns + start, form->size * sizeof *form->aligns);
    }
    return QN_OK;
}

// --- Strings --------------------------------------------------------------------------------------------------------

// What is put in has the place of the last character that it replaces.
static qn_status replace(const qn_step *step, qn_work *work) {
    const qn_form *form = &work->form;
    size_t at = 0, start, end;
    bool found = false;
    qn_rewrite r;
    qn_rewrite_begin(&r, form, &work->other);
    for (size_t search = 0; search <= form->size;) {
        QN_TRY(qn_pattern_find(step->pattern, &work->room, form->text, form->size, search, &found, &start, &end));
        if (!found) break;
        QN_TRY(qn_rewrite_keep(&r, start - at));
        qn_align align = end > 0 ? form->aligns[end - 1] : r.origin;
        QN_TRY(qn_form_append(&work->other, step->content, step->content_size, align));
        r.offset = at = end;
        search = end;
        uint32_t code;
        if (start == end) search += end < form->size ? qn_form_next(form->text + end, &code) : 1;
    }
    if (at == 0 && work->other.size == 0) return QN_OK;
    QN_TRY(qn_rewrite_keep(&r, form->size - at));
    swap_forms(work);
    return QN_OK;
}

static qn_status prepend(const qn_step *step, qn_work *work) {
    qn_form *form = &work->form;
    if (form->size == 0) return QN_OK;
    size_t size = step->content_size;
    QN_TRY(qn_form_reserve(form, form->size + size));
    memmove(form->text + size, form->text, form->size);
    memmove(form->aligns + size, form->aligns, form->size * sizeof *form->aligns);
    memcpy(form->text, step->content, size);
    for (size_t i = 0; i < size; i++) form->aligns[i] = form->aligns[size];
    form->size += size;
    return QN_OK;
}

static qn_status to_bytes(qn_work *work) {
    const qn_form *form = &work->form;
    qn_form *out = &work->other;
    out->size = 0;
    QN_TRY(qn_form_reserve(out, 2 * form->size));
    for (size_t i = 0; i < form->size; i++) {
        uint32_t code = qn_byte_character((uint8_t)form->text[i]);
        if (code >= 0x80) {
            out->text[out->size] = (char)(0xC0 | code >> 6);
            out->aligns[out->size++] = form->aligns[i];
        }
        out->text[out->size] = (char)(code < 0x80 ? code : 0x80 | (code & 0x3F));
        out->aligns[out->size++] = form->aligns[i];
    }
    swap_forms(work);
    return QN_OK;
}

// --- SentencePiece's compiled map -----------------------------------------------------------------------------------

// The string that the shortest key at the beginning of text[0, size) becomes; NULL where there is none.
static const char *look_up(const qn_step *step, const char *text, size_t size, size_t *length) {
    size_t node = 0;
    uint32_t unit = step->units[0];
#define OFFSET(u) ((u) >> 10 << (((u) & (1u << 9)) >> 6))
    node ^= OFFSET(unit);
    for (size_t i = 0; i < size && text[i]; i++) {
        node ^= (uint8_t)text[i];
        if (node >= step->unit_count) return NULL;
        unit = step->units[node];
        if ((unit & (1u << 31 | 0xFF)) != (uint8_t)text[i]) return NULL;
        node ^= OFFSET(unit);
        if (!(unit >> 8 & 1)) continue;
        if (node >= step->unit_count) return NULL;
        size_t index = step->units[node] & 0x7FFFFFFF;
        // Into the middle of a character: damage.
        if (index >= step->strings.size || ((uint8_t)step->strings.data[index] & 0xC0) == 0x80) return NULL;
        *length = strlen(step->strings.data + index);
        return step->strings.data + index;
    }
#undef OFFSET
    return NULL;
}

// `old` characters become those of text[0, size), which is valid UTF-8. Where nothing is left, the character before
// takes their places too.
static qn_status put_mapped(qn_work *work, size_t *count, size_t old, const char *text, size_t size) {
    size_t first = *count;
    for (size_t i = 0; i < size;) {
        QN_TRY(qn_grow((void **)&work->chars, &work->chars_capacity, *count + 1, sizeof *work->chars));
        qn_normal_char *c = &work->chars[(*count)++];
        *c = (qn_normal_char){0};
        i += qn_form_next(text + i, &c->code);
    }
    size_t fresh = *count - first;
    for (size_t i = old; i < fresh; i++) work->chars[first + i].change = 1;
    if (fresh<old && * count> 0) work->chars[*count - 1].change -= (int32_t)(old - fresh);
    return QN_OK;
}

static qn_status put_grapheme(const qn_step *step, qn_work *work, const char *text, size_t size, size_t *count,
                              bool *modified) {
    size_t length, characters = 0;
    uint32_t code;
    const char *mapped = size < 6 ? look_up(step, text, size, &length) : NULL;
    if (mapped) {
        for (size_t i = 0; i < size; characters++) i += qn_form_next(text + i, &code);
        *modified = true;
        return put_mapped(work, count, characters, mapped, length);
    }
    for (size_t i = 0; i < size;) {
        size_t bytes = qn_form_next(text + i, &code);
        mapped = look_up(step, text + i, bytes, &length);
        *modified |= mapped != NULL;
        QN_TRY(put_mapped(work, count, 1, mapped ? mapped : text + i, mapped ? length : bytes));
        i += bytes;
    }
    return QN_OK;
}

static bool is_plain(uint8_t byte) {
    return byte >= 0x20 && byte < 0x7F;
}

static qn_status precompiled(const qn_step *step, qn_work *work) {
    const qn_form *form = &work->form;
    size_t count = 0, plain = 0;
    bool modified = false;
    while (plain < form->size && is_plain((uint8_t)form->text[plain])) plain++;
    if (plain == form->size && !step->flag) return QN_OK; // flag: the map changes printable ASCII
    for (size_t i = 0; i < form->size;) {
        int32_t state = 0;
        uint32_t code, next;
        size_t end = i + qn_form_next(form->text + i, &code);
        while (end < form->size) {
            size_t length = qn_form_next(form->text + end, &next);
            if (!qn_unicode_joins(code, next, &state)) break;
            code = next;
            end += length;
        }
        QN_TRY(put_grapheme(step, work, form->text + i, end - i, &count, &modified));
        i = end;
    }
    if (!modified) return QN_OK;
    qn_rewrite r;
    qn_rewrite_begin(&r, form, &work->other);
    for (size_t i = 0; i < count; i++) QN_TRY(qn_rewrite_put(&r, work->chars[i].code, work->chars[i].change));
    swap_forms(work);
    return QN_OK;
}

static qn_status apply(const qn_step *step, qn_work *work) {
    switch (step->kind) {
    case QN_STEP_COMPOSE:
        return normal_form(work, true, step->flag);
    case QN_STEP_DECOMPOSE:
        return normal_form(work, false, step->flag);
    case QN_STEP_LOWERCASE:
        return lowercase(work);
    case QN_STEP_STRIP:
        return strip(work, step->flag, step->second);
    case QN_STEP_STRIP_ACCENTS:
        return is_ascii(&work->form) ? QN_OK : filter(work, step->flag ? drops_accent : drops_mark);
    case QN_STEP_REPLACE:
        return replace(step, work);
    case QN_STEP_PREPEND:
        return prepend(step, work);
    case QN_STEP_PRECOMPILED:
        return precompiled(step, work);
    case QN_STEP_CLEAN:
        return clean(work);
    case QN_STEP_CHINESE:
        return space_chinese(work);
    case QN_STEP_BYTES:
        return to_bytes(work);
    default:
        return QN_OK;
    }
}

qn_status qn_run_normalizers(const qn_steps *steps, qn_work *work) {
    for (size_t i = 0; i < steps->count && work->form.size > 0; i++) QN_TRY(apply(&steps->steps[i], work));
    return QN_OK;
}

// Little-endian: the bytes of the double array, the array, then the strings, each with a NUL.
qn_status qn_steps_set_precompiled(qn_step *step, const void *map, size_t size, const char *path) {
    const uint8_t *bytes = map;
    uint32_t array = 0;
    if (size >= 4) array = bytes[0] | bytes[1] << 8 | bytes[2] << 16 | (uint32_t)bytes[3] << 24;
    if (size < 8 || array < 4 || array % 4 != 0 || array > size - 4)
        return qn_fail(QN_ERROR_FORMAT, "%s: the precompiled map is damaged (an array of %u bytes in %zu)", path,
                       (unsigned)array, size);
    step->unit_count = array / 4;
    step->units = qn_malloc(step->unit_count, sizeof *step->units);
    if (!step->units) return QN_ERROR_MEMORY;
    for (size_t i = 0; i < step->unit_count; i++) {
        const uint8_t *unit = bytes + 4 + 4 * i;
        step->units[i] = unit[0] | unit[1] << 8 | unit[2] << 16 | (uint32_t)unit[3] << 24;
    }
    qn_buffer_append(&step->strings, bytes + 4 + array, size - 4 - array);
    qn_buffer_char(&step->strings, 0);
    QN_TRY(qn_buffer_status(&step->strings));
    for (size_t i = 0; i < step->strings.size;) {
        int32_t code;
        i += qn_utf8_next(step->strings.data + i, step->strings.size - i, &code);
        if (code < 0) return qn_fail(QN_ERROR_FORMAT, "%s: the precompiled map has strings that are not UTF-8", path);
    }
    for (char c = 0x20; c < 0x7F; c++) {
        size_t length;
        step->flag |= look_up(step, &c, 1, &length) != NULL;
    }
    return QN_OK;
}
