// Dot products by the best instruction set that this is compiled for.
#pragma once

#ifdef __AVX512F__
#include "dot_avx512.h"
#else
#include "dot_avx2.h"
#endif
