#include "dense.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels.hpp"

namespace eqp {
namespace {

using Micro = void (*)(int, const double*, const double*, double*, std::int64_t);

// Vector extensions of GCC and Clang; EQP_PLAIN forces the loops that any compiler takes.
#if defined(__GNUC__) && !defined(EQP_PLAIN)
#define EQP_VECTORS 1
#if defined(__x86_64__)
#define EQP_X86 1
#endif
#endif

#ifdef EQP_VECTORS
template <int Width>
struct Vector;
template <>
struct Vector<2> {
  typedef double type __attribute__((vector_size(16), aligned(8), may_alias));
};
template <>
struct Vector<4> {
  typedef double type __attribute__((vector_size(32), aligned(8), may_alias));
};
template <>
struct Vector<8> {
  typedef double type __attribute__((vector_size(64), aligned(8), may_alias));
};

// c (Width·High × Wide, stride ldc) −= Σ_k a_k b_kᵀ over packed strips.
template <int Width, int High, int Wide>
__attribute__((always_inline)) inline void micro(int depth, const double* a, const double* b,
                                                 double* c, std::int64_t ldc) {
  using V = typename Vector<Width>::type;
  V sum[Wide][High];
  for (int j = 0; j < Wide; ++j) {
    for (int i = 0; i < High; ++i) sum[j][i] = V{};
  }
  for (int k = 0; k < depth; ++k) {
    V left[High];
#pragma GCC unroll 8
    for (int i = 0; i < High; ++i) left[i] = *reinterpret_cast<const V*>(a + Width * i);
#pragma GCC unroll 8
    for (int j = 0; j < Wide; ++j) {
#pragma GCC unroll 8
      for (int i = 0; i < High; ++i) sum[j][i] += left[i] * b[j];
    }
    a += Width * High;
    b += Wide;
  }
  for (int j = 0; j < Wide; ++j) {
    for (int i = 0; i < High; ++i) {
      V* place = reinterpret_cast<V*>(c + j * ldc + Width * i);
      *place = *place - sum[j][i];
    }
  }
}

#ifdef EQP_X86
__attribute__((target("avx512f"))) void micro_avx512(int depth, const double* a, const double* b,
                                                     double* c, std::int64_t ldc) {
  micro<8, 3, 8>(depth, a, b, c, ldc);
}
__attribute__((target("avx2,fma"))) void micro_avx2(int depth, const double* a, const double* b,
                                                    double* c, std::int64_t ldc) {
  micro<4, 3, 4>(depth, a, b, c, ldc);
}
#endif
void micro_plain(int depth, const double* a, const double* b, double* c, std::int64_t ldc) {
  micro<2, 2, 4>(depth, a, b, c, ldc);
}
#else
void micro_plain(int depth, const double* a, const double* b, double* c, std::int64_t ldc) {
  double sum[4][4] = {};
  for (int k = 0; k < depth; ++k, a += 4, b += 4) {
    for (int j = 0; j < 4; ++j) {
      for (int i = 0; i < 4; ++i) sum[j][i] += a[i] * b[j];
    }
  }
  for (int j = 0; j < 4; ++j) {
    for (int i = 0; i < 4; ++i) c[i + j * ldc] -= sum[j][i];
  }
}
#endif

struct Shape {
  Micro kernel;
  int high, wide;
};

Shape choose_shape() {
#ifdef EQP_X86
  if (__builtin_cpu_supports("avx512f")) return {micro_avx512, 24, 8};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return {micro_avx2, 12, 4};
#endif
  return {micro_plain, 4, 4};
}

constexpr int kDepth = 256;  // strip length: packed strips stay in the first two cache levels
constexpr int kHigh = 144;   // rows packed at once, a multiple of every tile height
constexpr int kWideMost = 96;

// Packs rows×depth of a column-major matrix into strips of `step` rows, zero-padded.
EQP_CLONES
void pack(const double* source, std::int64_t ld, int rows, int depth, int step, double* out) {
  for (int first = 0; first < rows; first += step) {
    const int here = std::min(step, rows - first);
    for (int k = 0; k < depth; ++k) {
      const double* column = source + k * ld + first;
      for (int i = 0; i < here; ++i) out[i] = column[i];
      for (int i = here; i < step; ++i) out[i] = 0.0;
      out += step;
    }
  }
}

// C (m × n, n ≤ kWideMost) −= A (m × depth)·B (n × depth)ᵀ
void subtract_product(double* c, std::int64_t ldc, const double* a, std::int64_t lda, int m,
                      const double* b, std::int64_t ldb, int n, int depth) {
  static const Shape shape = choose_shape();
  thread_local std::vector<double> a_packed(kHigh * kDepth), b_packed((kWideMost + 8) * kDepth);
  double edge[24 * 8];
  for (int k0 = 0; k0 < depth; k0 += kDepth) {
    const int kd = std::min(kDepth, depth - k0);
    pack(b + k0 * ldb, ldb, n, kd, shape.wide, b_packed.data());
    for (int i0 = 0; i0 < m; i0 += kHigh) {
      const int mh = std::min(kHigh, m - i0);
      pack(a + k0 * lda + i0, lda, mh, kd, shape.high, a_packed.data());
      for (int j = 0; j < n; j += shape.wide) {
        const double* right = b_packed.data() + static_cast<std::int64_t>(j) * kd;
        for (int i = 0; i < mh; i += shape.high) {
          const double* left = a_packed.data() + static_cast<std::int64_t>(i) * kd;
          double* place = c + (i0 + i) + j * ldc;
          if (i + shape.high <= mh && j + shape.wide <= n) {
            shape.kernel(kd, left, right, place, ldc);
            continue;
          }
          std::memset(edge, 0, sizeof edge);
          shape.kernel(kd, left, right, edge, shape.high);
          const int rows = std::min(shape.high, mh - i), columns = std::min(shape.wide, n - j);
          for (int q = 0; q < columns; ++q) {
            for (int p = 0; p < rows; ++p) place[p + q * ldc] += edge[p + q * shape.high];
          }
        }
      }
    }
  }
}

// Unblocked Cholesky of a narrow panel, rows in slices that stay in cache.
EQP_CLONES
bool factor_narrow(double* panel, std::int64_t ld, int rows, int columns) {
  for (int k = 0; k < columns; ++k) {
    double* pivot_column = panel + k * ld;
    const double pivot = pivot_column[k];
    if (!(pivot > 0.0)) return false;
    const double root = std::sqrt(pivot), inverse = 1.0 / root;
    pivot_column[k] = root;
    for (int i = k + 1; i < columns; ++i) pivot_column[i] *= inverse;
    for (int j = k + 1; j < columns; ++j) {
      double* column = panel + j * ld;
      const double factor = pivot_column[j];
      for (int i = j; i < columns; ++i) column[i] -= factor * pivot_column[i];
    }
  }
  constexpr int kSlice = 128;
  for (int first = columns; first < rows; first += kSlice) {
    const int last = std::min(rows, first + kSlice);
    for (int k = 0; k < columns; ++k) {
      double* done = panel + k * ld;
      const double inverse = 1.0 / done[k];
      for (int i = first; i < last; ++i) done[i] *= inverse;
      for (int j = k + 1; j < columns; ++j) {
        double* column = panel + j * ld;
        const double factor = done[j];
        for (int i = first; i < last; ++i) column[i] -= factor * done[i];
      }
    }
  }
  return true;
}

constexpr int kNarrow = 32;
constexpr double kParallelWork = 4e6;  // multiplications worth waking another thread

}  // namespace

bool factor_panel(double* front, int rows, int columns, Workers* workers) {
  const std::int64_t ld = rows;
  for (int j = 0; j < columns; j += kNarrow) {
    const int width = std::min(kNarrow, columns - j);
    double* panel = front + j + j * ld;
    if (j > 0) {
      const int height = rows - j;
      const bool share =
          workers != nullptr && static_cast<double>(height) * width * j > kParallelWork;
      const int pieces = share ? std::max(1, height / 256) : 1;
      const auto task = [&](std::int64_t k) {
        const int lo = static_cast<int>(height * k / pieces);
        const int hi = static_cast<int>(height * (k + 1) / pieces);
        subtract_product(panel + lo, ld, front + j + lo, ld, hi - lo, front + j, ld, width, j);
      };
      if (share) {
        workers->run(pieces, task);
      } else {
        task(0);
      }
    }
    if (!factor_narrow(panel, ld, rows - j, width)) return false;
  }
  return true;
}

void subtract_outer(double* update, int size, const double* panel, int ld, int columns,
                    Workers* workers) {
  const int pieces = (size + kWideMost - 1) / kWideMost;
  const auto task = [&](std::int64_t k) {
    const int j = static_cast<int>(k) * kWideMost;
    subtract_product(update + j + static_cast<std::int64_t>(j) * size, size, panel + j, ld,
                     size - j, panel + j, ld, std::min(kWideMost, size - j), columns);
  };
  if (workers != nullptr && 0.5 * size * size * columns > kParallelWork) {
    workers->run(pieces, task);
  } else {
    for (int k = 0; k < pieces; ++k) task(k);
  }
}

EQP_CLONES
void solve_forward(const double* front, int rows, int columns, double* y, double* t) {
  for (int k = 0; k < columns; ++k) {
    const double* column = front + static_cast<std::int64_t>(k) * rows;
    const double value = y[k] / column[k];
    y[k] = value;
    for (int i = k + 1; i < columns; ++i) y[i] -= value * column[i];
    const double* below = column + columns;
    for (int i = 0; i < rows - columns; ++i) t[i] -= value * below[i];
  }
}

void solve_backward(const double* front, int rows, int columns, double* y, const double* t) {
  for (int k = columns; k-- > 0;) {
    const double* column = front + static_cast<std::int64_t>(k) * rows;
    const double sum =
        y[k] - dot(column + columns, t, 0, rows - columns) - dot(column, y, k + 1, columns);
    y[k] = sum / column[k];
  }
}

}  // namespace eqp
