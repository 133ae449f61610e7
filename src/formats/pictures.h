// Sheets of small pictures, made of rows of numbers: as PNG, PGM or PPM.
#pragma once
#include "base/buffer.h"

// qn_picture_sheet and qn_pictures_write are public: see quern.h.

// The same as the bytes of a PNG file, appended to `out`.
qn_status qn_pictures_png(const qn_picture_sheet *sheet, qn_buffer *out);
