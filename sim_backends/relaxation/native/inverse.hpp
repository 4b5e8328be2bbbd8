// Selected inversion (Takahashi): the entries of A^-1 on the pattern of L, for A = L L^T.
//
// For a supernode with L = [D; B]: Y = B D^-1, G_RJ = -G_RR Y, G_JJ = D^-T D^-1 - Y^T G_RJ,
// from the last supernode to the first; G_RR is known by then (Erisman & Tinney 1975).
#pragma once

#include "cholesky.hpp"

namespace eqp {
namespace EQP_NS {

struct InverseWork {
  vd* below;   // (max_rows, max_rows) G_RR, full
  vd* y;       // (max_cols, max_rows) Y^T
  vd* gy;      // (max_cols, max_rows) (G_RR Y)^T
  vd* square;  // (max_cols, max_cols) D^-1
};

template <int M, int N>
EQP_INLINE void negative_product(const vd* a, std::int64_t ld_a, const vd* b, std::int64_t ld_b,
                                 int k, vd* out, std::int64_t ld_out) {
  vd acc[M][N];
  EQP_LOOP(M) for (int m = 0; m < M; ++m) {
    EQP_LOOP(N) for (int n = 0; n < N; ++n) acc[m][n] = zero();
  }
  subtract_product<M, N, false>(a, ld_a, b, ld_b, k, nullptr, acc);
  EQP_LOOP(M) for (int m = 0; m < M; ++m) {
    EQP_LOOP(N) for (int n = 0; n < N; ++n) out[m * ld_out + n] = acc[m][n];
  }
}

// out = -a b^T, a: rows x k, b: cols x k, all row-major.
static void negative_gemm(const vd* a, int rows, std::int64_t ld_a, const vd* b, int cols,
                          std::int64_t ld_b, int k, vd* out, std::int64_t ld_out) {
  int n = 0;
  for (; n + kN <= cols; n += kN) {
    int m = 0;
    for (; m + kM <= rows; m += kM)
      negative_product<kM, kN>(a + m * ld_a, ld_a, b + n * ld_b, ld_b, k, out + m * ld_out + n,
                               ld_out);
    for (; m < rows; ++m)
      negative_product<1, kN>(a + m * ld_a, ld_a, b + n * ld_b, ld_b, k, out + m * ld_out + n,
                              ld_out);
  }
  for (; n < cols; ++n) {
    int m = 0;
    for (; m + kM <= rows; m += kM)
      negative_product<kM, 1>(a + m * ld_a, ld_a, b + n * ld_b, ld_b, k, out + m * ld_out + n,
                              ld_out);
    for (; m < rows; ++m)
      negative_product<1, 1>(a + m * ld_a, ld_a, b + n * ld_b, ld_b, k, out + m * ld_out + n,
                             ld_out);
  }
}

static void gather_below(const GraphView& g, const Supernode& s, const vd* inverse_panel,
                         const vd* inverse_diagonal, vd* below) {
  const std::int32_t* at = g.rows + s.row_list;
  for (int o = s.out_begin; o < s.out_end; ++o) {
    const Update& u = g.updates[g.sent[o]];
    const Supernode& p = g.supernodes[u.target];
    const vd* source = inverse_panel + p.panel;
    const std::int32_t* rel = g.rel + u.rel;
    for (int q = u.begin; q < u.end; ++q) {
      const int col = rel[q - u.begin];
      below[q * s.rows + q] = inverse_diagonal[at[q]];
      for (int r = q + 1; r < s.rows; ++r) {
        const vd x = source[rel[r - u.begin] * p.cols + col];
        below[r * s.rows + q] = x;
        below[q * s.rows + r] = x;
      }
    }
  }
}

// Writes off-diagonal entries to `out` (panels) and the diagonal to `out_diagonal`.
static void selected_inverse(const GraphView& g, const Factor& f, const InverseWork& w, vd* out,
                             vd* out_diagonal) {
  for (int j = g.n_supernodes - 1; j >= 0; --j) {
    const Supernode& s = g.supernodes[j];
    const std::int64_t nc = s.cols;
    const std::int64_t nr = s.rows;
    const vd* panel = f.panel + s.panel;
    const vd* b = panel + (s.diagonal ? 0 : nc * nc);
    const vd* inv = f.inverse + s.first;
    vd* result = out + s.panel;
    vd* result_below = result + (s.diagonal ? 0 : nc * nc);
    vd* diagonal = out_diagonal + s.first;
    if (nr > 0) {
      if (!s.same_rows_as_next) gather_below(g, s, out, out_diagonal, w.below);
      for (int c = s.cols - 1; c >= 0; --c) {
        vd* y = w.y + c * nr;
        for (int r = 0; r < nr; ++r) y[r] = b[r * nc + c];
        if (!s.diagonal) {
          for (int d = c + 1; d < nc; ++d) {
            const vd l = panel[d * nc + c];
            const vd* yd = w.y + d * nr;
            for (int r = 0; r < nr; ++r) y[r] = fnma(l, yd[r], y[r]);
          }
        }
        for (int r = 0; r < nr; ++r) y[r] = y[r] * inv[c];
      }
      negative_gemm(w.below, s.rows, nr, w.y, s.cols, nr, s.rows, result_below, nc);
      for (int c = 0; c < nc; ++c)
        for (int r = 0; r < nr; ++r) w.gy[c * nr + r] = result_below[r * nc + c];
    }
    if (s.diagonal) {
      for (int c = 0; c < nc; ++c) {
        vd x = inv[c] * inv[c];
        for (int r = 0; r < nr; ++r) x = fnma(w.y[c * nr + r], w.gy[c * nr + r], x);
        diagonal[c] = x;
      }
      continue;
    }
    vd* u = w.square;  // u[c * nc + k]: (D^-1)[k][c], transposed
    for (int c = 0; c < nc; ++c) {
      u[c * nc + c] = inv[c];
      for (int k = c + 1; k < nc; ++k) {
        vd x = zero();
        for (int d = c; d < k; ++d) x = fnma(panel[k * nc + d], u[c * nc + d], x);
        u[c * nc + k] = x * inv[k];
      }
    }
    for (int i = 0; i < nc; ++i) {
      for (int c = 0; c <= i; ++c) {
        vd x = zero();
        for (int k = i; k < nc; ++k) x = fma(u[i * nc + k], u[c * nc + k], x);
        result[i * nc + c] = x;
      }
    }
    if (nr > 0) {
      // result -= Y^T G_RJ, with G_RJ = -(G_RR Y) already negated in gy.
      for (int i = 0; i < nc; i += 1) {
        int c = 0;
        for (; c + 4 <= i + 1; c += 4) {
          vd acc[1][4] = {{result[i * nc + c], result[i * nc + c + 1], result[i * nc + c + 2],
                           result[i * nc + c + 3]}};
          subtract_product<1, 4, false>(w.y + i * nr, nr, w.gy + c * nr, nr, s.rows, nullptr, acc);
          for (int q = 0; q < 4; ++q) result[i * nc + c + q] = acc[0][q];
        }
        for (; c <= i; ++c) {
          vd acc[1][1] = {{result[i * nc + c]}};
          subtract_product<1, 1, false>(w.y + i * nr, nr, w.gy + c * nr, nr, s.rows, nullptr, acc);
          result[i * nc + c] = acc[0][0];
        }
      }
    }
    for (int c = 0; c < nc; ++c) diagonal[c] = result[c * nc + c];
  }
}

}  // namespace EQP_NS
}  // namespace eqp
