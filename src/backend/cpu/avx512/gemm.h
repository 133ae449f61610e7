// What the three products of AVX-512 share: their tiles.
#pragma once
#include "backend/cpu/avx512/vec.h"
#include "backend/cpu/vector/math.inc.h"

#define TILE_ROWS 14
#define TILE_EACH(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14)
