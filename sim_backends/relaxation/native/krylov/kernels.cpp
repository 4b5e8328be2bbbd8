#include "kernels.hpp"

#include <cmath>
#include <cstring>

namespace eqp {
namespace {

// Sum in 16 interleaved parts: vectorises without reassociation by the compiler, so that every
// instruction set adds in the same order.
constexpr int kLanes = 16;
constexpr int kBlock = 512;  // a dozen vectors of this length stay in the first-level cache

inline double fold(const double* part) {
  double total = 0.0;
  for (int k = 0; k < kLanes; ++k) total += part[k];
  return total;
}

}  // namespace

// π/2 is subtracted in two parts (exact product for |k| < 2^20), then the kernels of fdlibm on
// [−π/4, π/4]; the quadrant swaps and signs the pair. Error below 1 ulp.
EQP_CLONES
void phasors(const double* angle, double* cosine, double* sine, int begin, int end) {
  constexpr double kTwoOverPi = 6.36619772367581382433e-01;
  constexpr double kHigh = 1.57079632673412561417e+00;
  constexpr double kLow = 6.07710050650619224932e-11;
  constexpr double kMagic = 6755399441055744.0;  // 1.5·2^52: adding it rounds to an integer
  for (int i = begin; i < end; ++i) {
    const double x = angle[i];
    const double shifted = x * kTwoOverPi + kMagic;
    std::int64_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    const double k = shifted - kMagic;
    const double y = (x - k * kHigh) - k * kLow;
    const double z = y * y;
    const double sin_y =
        y + y * z *
                (-1.66666666666666324348e-01 +
                 z * (8.33333333332248946124e-03 +
                      z * (-1.98412698298579493134e-04 +
                           z * (2.75573137070700676789e-06 +
                                z * (-2.50507602534068634195e-08 + z * 1.58969099521155010221e-10)))));
    const double cos_y =
        1.0 - (0.5 * z -
               z * z *
                   (4.16666666666666019037e-02 +
                    z * (-1.38888888888741095749e-03 +
                         z * (2.48015872894767294178e-05 +
                              z * (-2.75573143513906633035e-07 +
                                   z * (2.08757232129817482790e-09 - z * 1.13596475577881948265e-11))))));
    const bool swap = (bits & 1) != 0;
    const double s = swap ? cos_y : sin_y;
    const double c = swap ? sin_y : cos_y;
    sine[i] = (bits & 2) != 0 ? -s : s;
    cosine[i] = ((bits + 1) & 2) != 0 ? -c : c;
  }
  constexpr double kLargest = 1e5;  // beyond, the reduction loses digits
  for (int i = begin; i < end; ++i) {
    if (!(std::fabs(angle[i]) <= kLargest)) {
      sine[i] = std::sin(angle[i]);
      cosine[i] = std::cos(angle[i]);
    }
  }
}

EQP_CLONES
void combine(double* out, const double* base, const double* const* terms, const double* weight,
             int count, int begin, int end) {
  for (int first = begin; first < end; first += kBlock) {
    const int last = first + kBlock < end ? first + kBlock : end;
    if (out != base) {
      for (int i = first; i < last; ++i) out[i] = base[i];
    }
    for (int k = 0; k < count; ++k) {
      const double w = weight[k];
      const double* term = terms[k];
      if (w == 0.0) continue;
      for (int i = first; i < last; ++i) out[i] += w * term[i];
    }
  }
}

EQP_CLONES
double dot(const double* a, const double* b, int begin, int end) {
  double part[kLanes] = {};
  int i = begin;
  for (; i + kLanes <= end; i += kLanes) {
    for (int k = 0; k < kLanes; ++k) part[k] += a[i + k] * b[i + k];
  }
  double rest = 0.0;
  for (; i < end; ++i) rest += a[i] * b[i];
  return fold(part) + rest;
}

void dots(const double* const* left, const double* const* right, int count, int begin, int end,
          double* out) {
  for (int k = 0; k < count; ++k) out[k] = 0.0;
  for (int first = begin; first < end; first += kBlock) {
    const int last = first + kBlock < end ? first + kBlock : end;
    for (int k = 0; k < count; ++k) out[k] += dot(left[k], right[k], first, last);
  }
}

EQP_CLONES
double largest(const double* a, int begin, int end) {
  double most = 0.0, poison = 0.0;
  for (int i = begin; i < end; ++i) {
    const double size = std::fabs(a[i]);
    most = size > most ? size : most;
    poison += 0.0 * a[i];  // NaN as soon as one entry is NaN or infinite
  }
  return most + poison;
}

EQP_CLONES
void axpy(double alpha, const double* x, double* y, int begin, int end) {
  for (int i = begin; i < end; ++i) y[i] += alpha * x[i];
}

EQP_CLONES
void xpby(const double* x, double beta, double* y, int begin, int end) {
  for (int i = begin; i < end; ++i) y[i] = x[i] + beta * y[i];
}

}  // namespace eqp
