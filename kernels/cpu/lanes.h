// What dot products of every instruction set offer.
#pragma once

#include "vector.h"

namespace pw {

// How weights of a type are multiplied. kPair: elements of K that lie together for each channel. Activation: what a row of the
// other operand is made of. kParts: turns in which a pair is taken. `right` reads 16 channels of a part, `step` adds their
// products with an activation to the sums; `exact` makes int8's sums those of the plain products.
template <class T>
struct Lanes;

// Codes of 8 or 4 bits in groups, multiplied with int16. A step along K takes kStep columns by kParts vectors of pairs, whose codes
// lie in kStepBytes; `raw` reads those of 16 channels, `part` makes one of the vectors of them. kMostRows is as below.
template <int kBits>
struct Codes {
    static constexpr int kCodeBits = kBits;
};

}  // namespace pw
