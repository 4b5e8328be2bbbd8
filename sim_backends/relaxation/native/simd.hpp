// One lane vector: EQP_WIDTH numbers, one sample a lane; doubles, or floats with EQP_SINGLE.
//
// Fused multiply-adds are written out and contraction is switched off, so that a sample's
// result depends neither on its lane nor on the width.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include <math.h>

#if defined(__GNUC__)
#define EQP_INLINE static inline __attribute__((always_inline))
#define EQP_LOOP(N) _Pragma("GCC unroll 8")
#else
#define EQP_INLINE static __forceinline
#define EQP_LOOP(N)
#endif

namespace eqp {
namespace EQP_NS {

constexpr int W = EQP_WIDTH;

#if defined(EQP_SINGLE)
typedef float real;
typedef std::int32_t integer;
typedef std::uint32_t natural;
#else
typedef double real;
typedef std::int64_t integer;
typedef std::uint64_t natural;
#endif

#if defined(__GNUC__)

typedef real vd __attribute__((vector_size(sizeof(real) * EQP_WIDTH), may_alias));
typedef integer vi __attribute__((vector_size(sizeof(real) * EQP_WIDTH), may_alias));

EQP_INLINE vd splat(double x) { return static_cast<real>(x) - vd{}; }
EQP_INLINE vi less(vd a, vd b) { return (vi)(a < b); }
EQP_INLINE vd select(vi mask, vd a, vd b) { return mask ? a : b; }
EQP_INLINE vi bits(vd a) { return (vi)a; }
EQP_INLINE vd from_bits(vi a) { return (vd)a; }
EQP_INLINE vi splat_int(integer x) { return x - vi{}; }

#else

struct vi {
  integer v[W];
  integer& operator[](int l) { return v[l]; }
  integer operator[](int l) const { return v[l]; }
};
struct vd {
  real v[W];
  real& operator[](int l) { return v[l]; }
  real operator[](int l) const { return v[l]; }
};
#define EQP_BINARY(T, OP)                                    \
  EQP_INLINE T operator OP(T a, T b) {                       \
    T r;                                                     \
    for (int l = 0; l < W; ++l) r.v[l] = a.v[l] OP b.v[l];   \
    return r;                                                \
  }
EQP_BINARY(vd, +)
EQP_BINARY(vd, -)
EQP_BINARY(vd, *)
EQP_BINARY(vd, /)
EQP_BINARY(vi, &)
EQP_BINARY(vi, |)
EQP_BINARY(vi, ^)
EQP_BINARY(vi, +)
#undef EQP_BINARY
EQP_INLINE vd& operator+=(vd& a, vd b) { return a = a + b; }
EQP_INLINE vd& operator-=(vd& a, vd b) { return a = a - b; }
EQP_INLINE vd& operator*=(vd& a, vd b) { return a = a * b; }
EQP_INLINE vi& operator&=(vi& a, vi b) { return a = a & b; }
EQP_INLINE vd operator-(vd a) {
  for (int l = 0; l < W; ++l) a.v[l] = -a.v[l];
  return a;
}
EQP_INLINE vi operator-(vi a) {
  for (int l = 0; l < W; ++l) a.v[l] = -a.v[l];
  return a;
}
EQP_INLINE vi operator<<(vi a, int s) {
  for (int l = 0; l < W; ++l) a.v[l] = (integer)((natural)a.v[l] << s);
  return a;
}
EQP_INLINE vd splat(double x) {
  vd r;
  for (int l = 0; l < W; ++l) r.v[l] = static_cast<real>(x);
  return r;
}
EQP_INLINE vi splat_int(integer x) {
  vi r;
  for (int l = 0; l < W; ++l) r.v[l] = x;
  return r;
}
EQP_INLINE vi less(vd a, vd b) {
  vi r;
  for (int l = 0; l < W; ++l) r.v[l] = a.v[l] < b.v[l] ? -1 : 0;
  return r;
}
EQP_INLINE vd select(vi m, vd a, vd b) {
  for (int l = 0; l < W; ++l) a.v[l] = m.v[l] ? a.v[l] : b.v[l];
  return a;
}
EQP_INLINE vi bits(vd a) {
  vi r;
  memcpy(&r, &a, sizeof r);
  return r;
}
EQP_INLINE vd from_bits(vi a) {
  vd r;
  memcpy(&r, &a, sizeof r);
  return r;
}

#endif

// Fused multiply-add, its negative product form, and the square root.
#if defined(EQP_SINGLE) && defined(__AVX512F__) && EQP_WIDTH == 16
#define EQP_X86(NAME) _mm512_##NAME##_ps
typedef __m512 vx;
#elif defined(EQP_SINGLE) && defined(__FMA__) && EQP_WIDTH == 8
#define EQP_X86(NAME) _mm256_##NAME##_ps
typedef __m256 vx;
#elif !defined(EQP_SINGLE) && defined(__AVX512F__) && EQP_WIDTH == 8
#define EQP_X86(NAME) _mm512_##NAME##_pd
typedef __m512d vx;
#elif !defined(EQP_SINGLE) && defined(__FMA__) && EQP_WIDTH == 4
#define EQP_X86(NAME) _mm256_##NAME##_pd
typedef __m256d vx;
#endif

#if defined(EQP_X86)
EQP_INLINE vd fma(vd a, vd b, vd c) { return (vd)EQP_X86(fmadd)((vx)a, (vx)b, (vx)c); }
EQP_INLINE vd fnma(vd a, vd b, vd c) { return (vd)EQP_X86(fnmadd)((vx)a, (vx)b, (vx)c); }
EQP_INLINE vd root(vd a) { return (vd)EQP_X86(sqrt)((vx)a); }
#undef EQP_X86
#elif defined(__aarch64__) && defined(__GNUC__) && EQP_WIDTH * 8 == 16 && !defined(EQP_SINGLE)
EQP_INLINE vd fma(vd a, vd b, vd c) {
  return (vd)vfmaq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
EQP_INLINE vd fnma(vd a, vd b, vd c) {
  return (vd)vfmsq_f64((float64x2_t)c, (float64x2_t)a, (float64x2_t)b);
}
EQP_INLINE vd root(vd a) { return (vd)vsqrtq_f64((float64x2_t)a); }
#elif defined(__aarch64__) && defined(__GNUC__) && EQP_WIDTH * 4 == 16 && defined(EQP_SINGLE)
EQP_INLINE vd fma(vd a, vd b, vd c) {
  return (vd)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
EQP_INLINE vd fnma(vd a, vd b, vd c) {
  return (vd)vfmsq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}
EQP_INLINE vd root(vd a) { return (vd)vsqrtq_f32((float32x4_t)a); }
#else
EQP_INLINE vd fma(vd a, vd b, vd c) { return a * b + c; }
EQP_INLINE vd fnma(vd a, vd b, vd c) { return c - a * b; }
#if defined(__SSE2__) && defined(__GNUC__) && EQP_WIDTH == 2 && !defined(EQP_SINGLE)
EQP_INLINE vd root(vd a) { return (vd)_mm_sqrt_pd((__m128d)a); }
#elif defined(__SSE2__) && defined(__GNUC__) && EQP_WIDTH == 4 && defined(EQP_SINGLE)
EQP_INLINE vd root(vd a) { return (vd)_mm_sqrt_ps((__m128)a); }
#else
EQP_INLINE vd root(vd a) {
  for (int l = 0; l < W; ++l) a[l] = static_cast<real>(::sqrt(static_cast<double>(a[l])));
  return a;
}
#endif
#endif

EQP_INLINE vd zero() { return splat(0.0); }
EQP_INLINE vd absolute(vd a) {
  return from_bits(bits(a) & splat_int(static_cast<integer>(~natural(0) >> 1)));
}
// NaN in either operand gives NaN or the other; callers test finiteness apart.
EQP_INLINE vd larger(vd a, vd b) { return select(less(a, b), b, a); }
EQP_INLINE vd smaller(vd a, vd b) { return select(less(a, b), a, b); }
EQP_INLINE bool any_lane(vi mask) {
  bool any = false;
  for (int l = 0; l < W; ++l) any = any || mask[l] != 0;
  return any;
}
EQP_INLINE real* lanes(vd* a) { return reinterpret_cast<real*>(a); }
EQP_INLINE const real* lanes(const vd* a) { return reinterpret_cast<const real*>(a); }
EQP_INLINE bool finite(double x) { return x - x == 0.0; }

}  // namespace EQP_NS
}  // namespace eqp
