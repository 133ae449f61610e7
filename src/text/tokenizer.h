// Tokenizers. The functions are the public ones (section "Tokenizers" of quern.h); this header is how the library's own
// parts include them.
#pragma once
#include "base/status.h"
