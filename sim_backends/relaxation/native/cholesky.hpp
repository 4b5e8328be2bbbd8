// Supernodal left-looking sparse factorisation A = L S L^T over lanes, S = 1 or diag(+-1).
//
// Unsigned (Cholesky): a lane with a pivot that is not positive is reported and its numbers
// are meaningless from there on. Signed: pivots may be negative; a zero pivot gives NaN.
// Panels are row-major, so all inner products run along contiguous rows.
#pragma once

#include "simd.hpp"
#include "view.hpp"

namespace eqp {
namespace EQP_NS {

// Register blocks of M rows by N columns.
#if defined(__AVX512F__)
constexpr int kM = 4, kN = 4;
#else
constexpr int kM = 4, kN = 2;
#endif

struct Factor {
  vd* panel;    // all supernode panels
  vd* inverse;  // (n) reciprocal of the diagonal of L
  vd* sign;     // (n) S, signed form only
};

// acc -= a b^T (or a S b^T) over k columns.
template <int M, int N, bool S>
EQP_INLINE void subtract_product(const vd* a, std::int64_t ld_a, const vd* b, std::int64_t ld_b,
                                 int k, const vd* sign, vd (&acc)[M][N]) {
  for (int c = 0; c < k; ++c) {
    vd bv[N];
    EQP_LOOP(N) for (int n = 0; n < N; ++n) bv[n] = b[n * ld_b + c];
    if (S) EQP_LOOP(N) for (int n = 0; n < N; ++n) bv[n] = bv[n] * sign[c];
    EQP_LOOP(M) for (int m = 0; m < M; ++m) {
      const vd av = a[m * ld_a + c];
      EQP_LOOP(N) for (int n = 0; n < N; ++n) acc[m][n] = fnma(av, bv[n], acc[m][n]);
    }
  }
}

template <int M, int N, bool S>
static void update_block(const vd* a, const vd* b, std::int64_t ld, int k, const vd* sign,
                         vd* target, std::int64_t ld_t, const std::int32_t* row,
                         const std::int32_t* col) {
  vd acc[M][N];
  EQP_LOOP(M) for (int m = 0; m < M; ++m) {
    EQP_LOOP(N) for (int n = 0; n < N; ++n) acc[m][n] = target[row[m] * ld_t + col[n]];
  }
  subtract_product<M, N, S>(a, ld, b, ld, k, sign, acc);
  EQP_LOOP(M) for (int m = 0; m < M; ++m) {
    EQP_LOOP(N) for (int n = 0; n < N; ++n) target[row[m] * ld_t + col[n]] = acc[m][n];
  }
}

template <int N, bool S>
EQP_INLINE void update_columns(const vd* rows, const vd* b, std::int64_t ld, int k, const vd* sign,
                               vd* target, std::int64_t ld_t, const std::int32_t* rel,
                               const std::int32_t* col, int count) {
  int r = 0;
  for (; r + kM <= count; r += kM)
    update_block<kM, N, S>(rows + r * ld, b, ld, k, sign, target, ld_t, rel + r, col);
  const vd* a = rows + r * ld;
  switch (count - r) {
    case 1: update_block<1, N, S>(a, b, ld, k, sign, target, ld_t, rel + r, col); break;
    case 2: update_block<2, N, S>(a, b, ld, k, sign, target, ld_t, rel + r, col); break;
    case 3: update_block<3, N, S>(a, b, ld, k, sign, target, ld_t, rel + r, col); break;
    default: break;
  }
}

// Subtracts what `source` contributes to `target`. Entries above the diagonal of the target's
// square part receive unused numbers, which saves all case distinctions.
template <bool S>
static void apply_update(const GraphView& g, const Update& u, const Factor& f) {
  const Supernode& src = g.supernodes[u.source];
  const Supernode& dst = g.supernodes[u.target];
  const int k = src.cols;
  const std::int64_t ld = src.cols;
  const vd* base = f.panel + src.panel + (src.diagonal ? 0 : ld * src.cols);
  vd* target = f.panel + dst.panel;
  const vd* sign = S ? f.sign + src.first : nullptr;
  const std::int32_t* rel = g.rel + u.rel;
  int s = u.begin;
  for (; s + kN <= u.end; s += kN) {
    const std::int32_t* at = rel + (s - u.begin);
    update_columns<kN, S>(base + s * ld, base + s * ld, ld, k, sign, target, dst.cols, at, at,
                          src.rows - s);
  }
  const std::int32_t* at = rel + (s - u.begin);
  const vd* b = base + s * ld;
  switch (u.end - s) {
    case 1:
      update_columns<1, S>(b, b, ld, k, sign, target, dst.cols, at, at, src.rows - s);
      break;
    case 2:
      if (kN > 2) update_columns<2, S>(b, b, ld, k, sign, target, dst.cols, at, at, src.rows - s);
      break;
    case 3:
      if (kN > 3) update_columns<3, S>(b, b, ld, k, sign, target, dst.cols, at, at, src.rows - s);
      break;
    default: break;
  }
}

template <int M, int N, bool S>
static void solve_rows(vd* a, const vd* b, std::int64_t ld, int k, const vd* sign,
                       const vd* inverse) {
  vd acc[M][N];
  EQP_LOOP(M) for (int m = 0; m < M; ++m) {
    EQP_LOOP(N) for (int n = 0; n < N; ++n) acc[m][n] = a[m * ld + k + n];
  }
  subtract_product<M, N, S>(a, ld, b, ld, k, sign, acc);
  EQP_LOOP(N) for (int n = 0; n < N; ++n) {
    const vd scale = S ? inverse[n] * sign[k + n] : inverse[n];
    EQP_LOOP(M) for (int m = 0; m < M; ++m) {
      vd x = acc[m][n];
      for (int j = 0; j < n; ++j) {
        const vd l = S ? b[n * ld + k + j] * sign[k + j] : b[n * ld + k + j];
        x = fnma(acc[m][j], l, x);
      }
      acc[m][n] = x * scale;
    }
  }
  EQP_LOOP(M) for (int m = 0; m < M; ++m) {
    EQP_LOOP(N) for (int n = 0; n < N; ++n) a[m * ld + k + n] = acc[m][n];
  }
}

// Factors columns [k, k+N) of a panel of `height` rows, given the columns before them.
template <int N, bool S>
static void factor_columns(vd* panel, std::int64_t ld, int k, int height, vd* sign, vd* inverse,
                           vi& ok) {
  vd* square = panel + k * ld;
  vd acc[N][N];
  EQP_LOOP(N) for (int m = 0; m < N; ++m) {
    EQP_LOOP(N) for (int n = 0; n < N; ++n) acc[m][n] = square[m * ld + k + n];
  }
  subtract_product<N, N, S>(square, ld, square, ld, k, sign, acc);
  EQP_LOOP(N) for (int n = 0; n < N; ++n) {
    vd pivot = acc[n][n];
    vd scale;
    if (S) {
      sign[k + n] = select(less(pivot, zero()), splat(-1.0), splat(1.0));
      pivot = absolute(pivot);
    } else {
      ok &= less(zero(), pivot);
    }
    const vd diagonal = root(pivot);
    scale = splat(1.0) / diagonal;
    inverse[k + n] = scale;
    if (S) scale = scale * sign[k + n];
    square[n * ld + k + n] = diagonal;
    EQP_LOOP(N) for (int m = n + 1; m < N; ++m) {
      acc[m][n] = acc[m][n] * scale;
      square[m * ld + k + n] = acc[m][n];
    }
    EQP_LOOP(N) for (int j = n + 1; j < N; ++j) {
      const vd l = S ? acc[j][n] * sign[k + n] : acc[j][n];
      EQP_LOOP(N) for (int m = j; m < N; ++m) acc[m][j] = fnma(acc[m][n], l, acc[m][j]);
    }
  }
  int r = k + N;
  for (; r + kM <= height; r += kM)
    solve_rows<kM, N, S>(panel + r * ld, square, ld, k, sign, inverse + k);
  vd* rest = panel + r * ld;
  switch (height - r) {
    case 1: solve_rows<1, N, S>(rest, square, ld, k, sign, inverse + k); break;
    case 2: solve_rows<2, N, S>(rest, square, ld, k, sign, inverse + k); break;
    case 3: solve_rows<3, N, S>(rest, square, ld, k, sign, inverse + k); break;
    default: break;
  }
}

template <bool S>
static void factor_dense(vd* panel, int cols, int rows, vd* sign, vd* inverse, vi& ok) {
  const int height = cols + rows;
  int k = 0;
  for (; k + kN <= cols; k += kN)
    factor_columns<kN, S>(panel, cols, k, height, sign, inverse, ok);
  switch (cols - k) {
    case 1: factor_columns<1, S>(panel, cols, k, height, sign, inverse, ok); break;
    case 2:
      if (kN > 2) factor_columns<2, S>(panel, cols, k, height, sign, inverse, ok);
      break;
    case 3:
      if (kN > 3) factor_columns<3, S>(panel, cols, k, height, sign, inverse, ok);
      break;
    default: break;
  }
}

template <bool S>
static void factor_diagonal(vd* panel, int cols, int rows, const vd* diagonal, vd* sign,
                            vd* inverse, vi& ok) {
  for (int c = 0; c < cols; ++c) {
    vd pivot = diagonal[c];
    if (S) {
      sign[c] = select(less(pivot, zero()), splat(-1.0), splat(1.0));
      pivot = absolute(pivot);
    } else {
      ok &= less(zero(), pivot);
    }
    inverse[c] = splat(1.0) / root(pivot);
    const vd scale = S ? inverse[c] * sign[c] : inverse[c];
    for (int r = 0; r < rows; ++r) panel[r * cols + c] = panel[r * cols + c] * scale;
  }
}

// Factors the matrix with off-diagonal entries value(entry index) and diagonal(i). Returns the
// lanes whose pivots were all positive (signed: all lanes).
template <bool S, class Value, class Diagonal>
static vi factorise(const GraphView& g, const Factor& f, Value value, Diagonal diagonal) {
  vi ok = splat_int(-1);
  for (int j = 0; j < g.n_supernodes; ++j) {
    const Supernode& s = g.supernodes[j];
    vd* panel = f.panel + s.panel;
    for (std::int64_t p = 0; p < s.panel_size; ++p) panel[p] = zero();
    for (int e = s.entry_begin; e < s.entry_end; ++e) panel[g.entries[e].pos] = value(e);
    if (s.diagonal) {
      vd* d = f.inverse + s.first;
      for (int c = 0; c < s.cols; ++c) d[c] = diagonal(s.first + c);
      factor_diagonal<S>(panel, s.cols, s.rows, d, f.sign + s.first, d, ok);
      continue;
    }
    for (int c = 0; c < s.cols; ++c) panel[c * s.cols + c] = diagonal(s.first + c);
    for (int u = s.update_begin; u < s.update_end; ++u) apply_update<S>(g, g.updates[u], f);
    factor_dense<S>(panel, s.cols, s.rows, f.sign + s.first, f.inverse + s.first, ok);
  }
  return ok;
}

// x <- L^-1 x.
template <int M>
EQP_INLINE void subtract_rows(const vd* rows, std::int64_t ld, int k, const vd* y, vd (&acc)[M]) {
  for (int c = 0; c < k; ++c) {
    const vd yc = y[c];
    EQP_LOOP(M) for (int m = 0; m < M; ++m) acc[m] = fnma(rows[m * ld + c], yc, acc[m]);
  }
}

template <int M>
EQP_INLINE void forward_square(const vd* rows, std::int64_t ld, int k, vd* y,
                               const vd* inverse) {
  vd acc[M];
  EQP_LOOP(M) for (int m = 0; m < M; ++m) acc[m] = y[k + m];
  subtract_rows<M>(rows, ld, k, y, acc);
  EQP_LOOP(M) for (int m = 0; m < M; ++m) {
    EQP_LOOP(M) for (int j = 0; j < m; ++j) acc[m] = fnma(rows[m * ld + k + j], acc[j], acc[m]);
    acc[m] = acc[m] * inverse[k + m];
    y[k + m] = acc[m];
  }
}

template <int M>
EQP_INLINE void forward_below(const vd* rows, std::int64_t ld, const vd* y,
                              const std::int32_t* at, vd* x) {
  vd acc[M];
  EQP_LOOP(M) for (int m = 0; m < M; ++m) acc[m] = x[at[m]];
  subtract_rows<M>(rows, ld, static_cast<int>(ld), y, acc);
  EQP_LOOP(M) for (int m = 0; m < M; ++m) x[at[m]] = acc[m];
}

static void forward(const GraphView& g, const Factor& f, vd* x) {
  for (int j = 0; j < g.n_supernodes; ++j) {
    const Supernode& s = g.supernodes[j];
    const std::int64_t ld = s.cols;
    const vd* panel = f.panel + s.panel;
    const vd* inverse = f.inverse + s.first;
    vd* y = x + s.first;
    if (s.diagonal) {
      for (int c = 0; c < s.cols; ++c) y[c] = y[c] * inverse[c];
    } else {
      int k = 0;
      for (; k + 4 <= s.cols; k += 4) forward_square<4>(panel + k * ld, ld, k, y, inverse);
      switch (s.cols - k) {
        case 1: forward_square<1>(panel + k * ld, ld, k, y, inverse); break;
        case 2: forward_square<2>(panel + k * ld, ld, k, y, inverse); break;
        case 3: forward_square<3>(panel + k * ld, ld, k, y, inverse); break;
        default: break;
      }
      panel += ld * ld;
    }
    const std::int32_t* at = g.rows + s.row_list;
    int r = 0;
    for (; r + 4 <= s.rows; r += 4) forward_below<4>(panel + r * ld, ld, y, at + r, x);
    switch (s.rows - r) {
      case 1: forward_below<1>(panel + r * ld, ld, y, at + r, x); break;
      case 2: forward_below<2>(panel + r * ld, ld, y, at + r, x); break;
      case 3: forward_below<3>(panel + r * ld, ld, y, at + r, x); break;
      default: break;
    }
  }
}

// x <- L^-T x.
template <int N>
EQP_INLINE void backward_columns(const Supernode& s, const vd* panel, const std::int32_t* at, int k,
                                 const vd* inverse, const vd* x, vd* y) {
  const std::int64_t ld = s.cols;
  vd acc[N];
  EQP_LOOP(N) for (int n = 0; n < N; ++n) acc[n] = y[k + n];
  const vd* row = panel;
  if (!s.diagonal) {
    for (int i = k + N; i < s.cols; ++i) {
      const vd yi = y[i];
      const vd* l = panel + i * ld + k;
      EQP_LOOP(N) for (int n = 0; n < N; ++n) acc[n] = fnma(l[n], yi, acc[n]);
    }
    row = panel + ld * ld;
  }
  for (int r = 0; r < s.rows; ++r) {
    const vd xr = x[at[r]];
    const vd* l = row + r * ld + k;
    EQP_LOOP(N) for (int n = 0; n < N; ++n) acc[n] = fnma(l[n], xr, acc[n]);
  }
  EQP_LOOP(N) for (int q = 0; q < N; ++q) {
    const int n = N - 1 - q;
    if (!s.diagonal)
      for (int j = n + 1; j < N; ++j) acc[n] = fnma(panel[(k + j) * ld + k + n], acc[j], acc[n]);
    acc[n] = acc[n] * inverse[k + n];
    y[k + n] = acc[n];
  }
}

static void backward(const GraphView& g, const Factor& f, vd* x) {
  for (int j = g.n_supernodes - 1; j >= 0; --j) {
    const Supernode& s = g.supernodes[j];
    const vd* panel = f.panel + s.panel;
    const vd* inverse = f.inverse + s.first;
    const std::int32_t* at = g.rows + s.row_list;
    vd* y = x + s.first;
    int k = s.cols & ~3;
    switch (s.cols - k) {
      case 1: backward_columns<1>(s, panel, at, k, inverse, x, y); break;
      case 2: backward_columns<2>(s, panel, at, k, inverse, x, y); break;
      case 3: backward_columns<3>(s, panel, at, k, inverse, x, y); break;
      default: break;
    }
    for (k -= 4; k >= 0; k -= 4) backward_columns<4>(s, panel, at, k, inverse, x, y);
  }
}

static void solve(const GraphView& g, const Factor& f, vd* x) {
  forward(g, f, x);
  backward(g, f, x);
}

}  // namespace EQP_NS
}  // namespace eqp
