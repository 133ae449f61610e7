// All kernels but the matrix product for the instruction set whose vec.h was included.
#include <math.h>
#include <string.h>

#include "backend/cpu/vector/activation.inc.h"
#include "backend/cpu/vector/adamw.inc.h"
#include "backend/cpu/vector/bf16.inc.h"
#include "backend/cpu/vector/dropout.inc.h"
#include "backend/cpu/vector/narrow.inc.h"
#include "backend/cpu/vector/norm.inc.h" // after dropout.inc.h, whose random bits it needs
#include "backend/cpu/vector/pack.inc.h"
#include "backend/cpu/vector/reduce.inc.h"
#include "backend/cpu/vector/rotate.inc.h"
