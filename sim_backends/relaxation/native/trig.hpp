// Sine and cosine of a lane vector, about 1 ulp for |x| up to 1e5 (floats: 1e3).
//
// Three-part reduction by pi/2 (parts of 33 bits: their products with the quadrant number are
// exact) and the minimax polynomials of the well-known fdlibm kernels on [-pi/4, pi/4]; for floats
// those of the Cephes library.
#pragma once

#include "simd.hpp"

namespace eqp {
namespace EQP_NS {

// Sine s and cosine c of the rest, to sine and cosine of the whole.
EQP_INLINE void turn_quadrant(vi quadrant, vd s, vd c, vd& sine, vd& cosine) {
  constexpr int kToSign = 8 * sizeof(real) - 2;
  const vi one = splat_int(1);
  const vi two = splat_int(2);
  const vi swap = -(quadrant & one);
  const vi sb = bits(s);
  const vi cb = bits(c);
  const vi mix = (sb ^ cb) & swap;
  sine = from_bits((sb ^ mix) ^ ((quadrant & two) << kToSign));
  cosine = from_bits((cb ^ mix) ^ (((quadrant + one) & two) << kToSign));
}

#if defined(EQP_SINGLE)

EQP_INLINE void sine_cosine(vd x, vd& sine, vd& cosine) {
  const vd magic = splat(12582912.0);  // 1.5 * 2^23: rounds to an integer
  const vd shifted = fma(x, splat(6.36619772367581382433e-01), magic);
  const vd k = shifted - magic;
  vd r = fnma(k, splat(1.5703125), x);
  r = fnma(k, splat(4.837512969970703125e-4), r);
  r = fnma(k, splat(7.54978995489188216e-8), r);
  const vd z = r * r;
  vd p = fma(z, splat(-1.9515295891e-4), splat(8.3321608736e-3));
  p = fma(z, p, splat(-1.6666654611e-1));
  vd q = fma(z, splat(2.443315711809948e-5), splat(-1.388731625493765e-3));
  q = fma(z, q, splat(4.166664568298827e-2));
  q = fma(z, q, splat(-0.5));
  turn_quadrant(bits(shifted), fma(r * z, p, r), fma(z, q, splat(1.0)), sine, cosine);
}

#else

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

  turn_quadrant(quadrant, s, c, sine, cosine);
}

#endif

}  // namespace EQP_NS
}  // namespace eqp
