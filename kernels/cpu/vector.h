// 16 floats at a time, whatever the instruction set: exp, log and reductions over rows in a fixed order.
#pragma once

#ifdef __AVX512F__
#include "vector_avx512.h"
#else
#include "vector_avx2.h"
#endif

namespace pw {

// e^x: range reduction by ln 2 in two parts and a polynomial of degree 6 (Cephes, Moshier 1989); about 1 ulp.
// Below -87.3 it gives 0, so -inf (a masked score) gives exactly 0; above 88 it stays at e^88, the last whose power of two is
// a normal number.
inline f32x16 exp(f32x16 x) {
    const Lanes16 vanishing = less(x, splat(-87.3f));
    // A NaN has to stay one, and min and max give their second operand for it.
    x = max(splat(-87.3f), min(splat(88.0f), x));
    const f32x16 n = nearest(x * splat(1.44269504f));
    f32x16 r = subtract_product(n, splat(0.693359375f), x);
    r = subtract_product(n, splat(-2.12194440e-4f), r);
    f32x16 p = splat(1.9875691500e-4f);
    p = multiply_add(p, r, splat(1.3981999507e-3f));
    p = multiply_add(p, r, splat(8.3334519073e-3f));
    p = multiply_add(p, r, splat(4.1665795894e-2f));
    p = multiply_add(p, r, splat(1.6666665459e-1f));
    p = multiply_add(p, r, splat(5.0000001201e-1f));
    p = multiply_add(p, r * r, r + splat(1.0f));
    return select(vanishing, zeros(), times_power_of_two(p, n));
}

// ln x for positive, normal x: mantissa in [sqrt(1/2), sqrt 2) and a polynomial of degree 9 (Cephes); about 1 ulp.
inline f32x16 log(f32x16 x) {
    const f32x16 one = splat(1.0f);
    f32x16 m, e;
    split(x, m, e);
    const Lanes16 low = less(m, splat(0.707106781f));
    e = select(low, e - one, e);
    m = select(low, m + m, m);
    m = m - one;
    const f32x16 z = m * m;
    f32x16 p = splat(7.0376836292e-2f);
    p = multiply_add(p, m, splat(-1.1514610310e-1f));
    p = multiply_add(p, m, splat(1.1676998740e-1f));
    p = multiply_add(p, m, splat(-1.2420140846e-1f));
    p = multiply_add(p, m, splat(1.4249322787e-1f));
    p = multiply_add(p, m, splat(-1.6668057665e-1f));
    p = multiply_add(p, m, splat(2.0000714765e-1f));
    p = multiply_add(p, m, splat(-2.4999993993e-1f));
    p = multiply_add(p, m, splat(3.3333331174e-1f));
    p = p * (m * z);
    p = multiply_add(e, splat(-2.12194440e-4f), p);
    p = subtract_product(splat(0.5f), z, p);
    return multiply_add(e, splat(0.693359375f), m + p);
}

inline f32x16 sigmoid(f32x16 x) { return splat(1.0f) / (splat(1.0f) + exp(zeros() - x)); }

// The sum of squares of a row, in an order that depends on its length alone.
inline float sum_of_squares(const float* x, int count) {
    f32x16 sums[4] = {zeros(), zeros(), zeros(), zeros()};
    for (int i = 0, lane = 0; i < count; i += 16, lane = (lane + 1) & 3) {
        const f32x16 v = load(x + i, first_lanes(count - i));
        sums[lane] = multiply_add(v, v, sums[lane]);
    }
    return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

inline float largest_magnitude(const float* x, int count) {
    f32x16 found = zeros();
    for (int i = 0; i < count; i += 16) found = max(found, magnitude(load(x + i, first_lanes(count - i))));
    return largest(found);
}

// The largest whole number of 16 bits, of either sign.
constexpr int kMostInt16 = 32767;

// Symmetric quantisation of a row to whole numbers of magnitude kMost; returns its scale (0 for a row of zeros).
template <int kMost, class Out>
inline float quantise_row(const float* x, int count, Out* out) {
    const float largest = largest_magnitude(x, count);
    const f32x16 inverse = splat(largest > 0.0f ? kMost / largest : 0.0f);
    for (int i = 0; i < count; i += 16) {
        const Lanes16 lanes = first_lanes(count - i);
        store(out + i, load(x + i, lanes) * inverse, lanes);
    }
    return largest / kMost;
}

}  // namespace pw
