// Sine and cosine of a lane vector, about 1 ulp for |x| up to 1e5.
//
// Three-part reduction by pi/2 (parts of 33 bits: their products with the quadrant number are
// exact) and the minimax polynomials of the well-known fdlibm kernels on [-pi/4, pi/4].
#pragma once

#include "simd.hpp"

namespace eqp {
namespace EQP_NS {

EQP_INLINE void sine_cosine(vd x, vd& sine, vd& cosine) {
  const vd magic = splat(6755399441055744.0);  // 1.5 * 2^52: rounds to an integer
  const vd shifted = x * splat(6.36619772367581382433e-01) + magic;
  const vi quadrant = bits(shifted);
  const vd k = shifted - magic;
  vd r = fnma(k, splat(1.57079632673412561417e+00), x);
  const vd low = k * splat(6.07710050630396597660e-11);
  const vd head = r - low;
  // What the subtraction rounds away matters when x is close to a multiple of pi/2.
  const vd lost = (r - head) - low;
  const vd tail = fnma(k, splat(2.02226624879595063154e-21), lost);
  r = head + tail;

  const vd z = r * r;
  vd p = fma(z, splat(1.58969099521155010221e-10), splat(-2.50507602534068634195e-08));
  p = fma(z, p, splat(2.75573137070700676789e-06));
  p = fma(z, p, splat(-1.98412698298579493134e-04));
  p = fma(z, p, splat(8.33333333332248946124e-03));
  p = fma(z, p, splat(-1.66666666666666324348e-01));
  const vd s = fma(r * z, p, r);

  vd q = fma(z, splat(-1.13596475577881948265e-11), splat(2.08757232129817482790e-09));
  q = fma(z, q, splat(-2.75573143513906633035e-07));
  q = fma(z, q, splat(2.48015872894767294178e-05));
  q = fma(z, q, splat(-1.38888888888741095749e-03));
  q = fma(z, q, splat(4.16666666666666019037e-02));
  const vd half = z * splat(0.5);
  const vd w = splat(1.0) - half;
  const vd c = w + fma(z * z, q, (splat(1.0) - w) - half);

  const vi one = splat_int(1);
  const vi two = splat_int(2);
  const vi swap = -(quadrant & one);
  const vi sb = bits(s);
  const vi cb = bits(c);
  const vi mix = (sb ^ cb) & swap;
  sine = from_bits((sb ^ mix) ^ ((quadrant & two) << 62));
  cosine = from_bits((cb ^ mix) ^ (((quadrant + one) & two) << 62));
}

}  // namespace EQP_NS
}  // namespace eqp
