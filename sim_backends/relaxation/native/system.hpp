// The XY network on a block of lanes: forces, Hessian, and the block's memory.
#pragma once

#include "cholesky.hpp"
#include "inverse.hpp"
#include "trig.hpp"

namespace eqp {
namespace EQP_NS {

// All arrays are (n) lane vectors in elimination order.
struct Block {
  vd *phase, *field_re, *field_im;
  vd *cosine, *sine, *force, *curvature;  // curvature: diagonal of H
  vd *trial, *work;
  vd *spread, *margin;  // see certificate(): zero but for segments
  vd* stage[6];
  vd* bond;              // (n_bonds) values of a second matrix
  vd *inverse_diagonal;  // diagonal of the selected inverse
  Factor factor;
  Factor second;  // selected inverse, then the certificate's matrix
  InverseWork inverse_work;
};

// Hands out the workspace; with base = nullptr it only measures.
struct Arena {
  vd* base;
  std::int64_t used;
  vd* take(std::int64_t count) {
    vd* p = base ? base + used : nullptr;
    used += count;
    return p;
  }
};

// What a flow needs; the certificate's arrays are left out. Returns lane vectors.
static std::int64_t lay_out_flow(const GraphView& g, double* memory, Block& b) {
  Arena a{reinterpret_cast<vd*>(memory), 0};
  const std::int64_t n = g.n;
  b = Block{};
  b.phase = a.take(n);
  b.field_re = a.take(n);
  b.field_im = a.take(n);
  b.cosine = a.take(n);
  b.sine = a.take(n);
  b.force = a.take(n);
  b.curvature = a.take(n);
  b.trial = a.take(n);
  b.work = a.take(n);
  b.spread = a.take(n);
  b.margin = a.take(n);
  for (int s = 0; s < 6; ++s) b.stage[s] = a.take(n);
  b.factor = {a.take(g.panel_total), a.take(n), a.take(n)};
  return a.used;
}

// All arrays. Returns doubles.
static std::int64_t lay_out(const GraphView& g, double* memory, Block& b) {
  Arena a{reinterpret_cast<vd*>(memory), lay_out_flow(g, memory, b)};
  const std::int64_t n = g.n;
  b.bond = a.take(g.n_bonds);
  b.inverse_diagonal = a.take(n);
  b.second = {a.take(g.panel_total), a.take(n), a.take(n)};
  b.inverse_work = {a.take(std::int64_t(g.max_rows) * g.max_rows),
                    a.take(std::int64_t(g.max_cols) * g.max_rows),
                    a.take(std::int64_t(g.max_cols) * g.max_rows),
                    a.take(std::int64_t(g.max_cols) * g.max_cols)};
  return a.used * W;
}

// Couplings in the precision of the lanes.
#if defined(EQP_SINGLE)
EQP_INLINE const real* row_couplings(const GraphView& g) { return g.values_single; }
EQP_INLINE const real* entry_couplings(const GraphView& g) { return g.entry_j_single; }
#else
EQP_INLINE const real* row_couplings(const GraphView& g) { return g.values; }
EQP_INLINE const real* entry_couplings(const GraphView& g) { return g.entry_j; }
#endif

// re + i im = field + sum_j J_ij (x_j + i y_j) for M rows of one block.
template <int M, class Sink>
EQP_INLINE void local_rows(const GraphView& g, const RowBlock& rb, const vd* x, const vd* y,
                           const vd* field_re, const vd* field_im, Sink sink) {
  vd re[M], im[M];
  EQP_LOOP(M) for (int m = 0; m < M; ++m) {
    re[m] = field_re ? field_re[rb.row + m] : zero();
    im[m] = field_im ? field_im[rb.row + m] : zero();
  }
  const std::int32_t* at = g.neighbours + rb.neighbour;
  const real* value = row_couplings(g) + rb.value;
  for (int k = 0; k < rb.length; ++k) {
    const vd xj = x[at[k]];
    const vd yj = y[at[k]];
    EQP_LOOP(M) for (int m = 0; m < M; ++m) {
      const vd coupling = splat(value[k * M + m]);
      re[m] = fma(coupling, xj, re[m]);
      im[m] = fma(coupling, yj, im[m]);
    }
  }
  EQP_LOOP(M) for (int m = 0; m < M; ++m) sink(rb.row + m, re[m], im[m]);
}

// Calls sink(i, re, im) for every row.
template <class Sink>
EQP_INLINE void local_field(const GraphView& g, const vd* x, const vd* y, const vd* field_re,
                            const vd* field_im, Sink sink) {
  for (int k = 0; k < g.n_blocks; ++k) {
    const RowBlock& rb = g.blocks[k];
    switch (rb.count) {
      case 1: local_rows<1>(g, rb, x, y, field_re, field_im, sink); break;
      case 2: local_rows<2>(g, rb, x, y, field_re, field_im, sink); break;
      case 3: local_rows<3>(g, rb, x, y, field_re, field_im, sink); break;
      default: local_rows<4>(g, rb, x, y, field_re, field_im, sink); break;
    }
  }
}

static void phasors(const GraphView& g, const Block& b, const vd* phase) {
  for (int i = 0; i < g.n; ++i) sine_cosine(phase[i], b.sine[i], b.cosine[i]);
}

// force <- -dF/dphi at `phase`; leaves the phasors in the block.
static void evaluate_force(const GraphView& g, const Block& b, const vd* phase, vd* force) {
  phasors(g, b, phase);
  local_field(g, b.cosine, b.sine, b.field_re, b.field_im, [&](int i, vd re, vd im) {
    force[i] = fnma(b.sine[i], re, b.cosine[i] * im);
  });
}

// The same, with the Hessian's diagonal, the largest |force| and the sum of squares.
static void evaluate(const GraphView& g, const Block& b, const vd* phase, vd* force, vd& largest,
                     vd& squares) {
  phasors(g, b, phase);
  local_field(g, b.cosine, b.sine, b.field_re, b.field_im, [&](int i, vd re, vd im) {
    force[i] = fnma(b.sine[i], re, b.cosine[i] * im);
    b.curvature[i] = fma(b.cosine[i], re, b.sine[i] * im);
  });
  vd top = zero();
  vd sum = zero();
  for (int i = 0; i < g.n; ++i) {
    top = larger(absolute(force[i]), top);
    sum = fma(force[i], force[i], sum);
  }
  largest = top + (sum - sum);  // NaN where any component is not finite
  squares = sum;
}

// cos(phi_i - phi_j) and sin(phi_i - phi_j) of an entry.
EQP_INLINE vd entry_cosine(const Block& b, const Entry& e) {
  return fma(b.sine[e.row], b.sine[e.col], b.cosine[e.row] * b.cosine[e.col]);
}
EQP_INLINE vd entry_sine(const Block& b, const Entry& e) {
  return fnma(b.cosine[e.row], b.sine[e.col], b.sine[e.row] * b.cosine[e.col]);
}

// Factors H + diag(shift) at the state last evaluated.
template <bool S, class Shift>
EQP_INLINE vi factor_hessian(const GraphView& g, const Block& b, Shift shift) {
  const real* coupling = entry_couplings(g);
  return factorise<S>(
      g, b.factor,
      [&](int e) {
        return splat(-coupling[e]) * entry_cosine(b, g.entries[e]);
      },
      [&](int i) { return b.curvature[i] + shift(i); });
}

// y <- H x (uses `work` arrays wx, wy).
static void multiply_hessian(const GraphView& g, const Block& b, const vd* x, vd* wx, vd* wy,
                             vd* y) {
  for (int i = 0; i < g.n; ++i) {
    wx[i] = b.cosine[i] * x[i];
    wy[i] = b.sine[i] * x[i];
  }
  local_field(g, wx, wy, nullptr, nullptr, [&](int i, vd re, vd im) {
    const vd bonds = fma(b.cosine[i], re, b.sine[i] * im);
    y[i] = fma(b.curvature[i], x[i], -bonds);
  });
}

// Phases far from zero are brought near it; the multiple of 2 pi is put back at the end.
EQP_INLINE double whole_turns(double x) {
  if (!(x > 100.0 || x < -100.0)) return 0.0;
  const double turns = x * 0.15915494309189535;
  return finite(turns) ? 6.283185307179586 * ::floor(turns + 0.5) : 0.0;
}

// Loads one sample into one lane; returns whether all numbers are finite.
static bool load_field(const GraphView& g, const Block& b, int lane, const double* field) {
  bool good = true;
  real* re = lanes(b.field_re) + lane;
  real* im = lanes(b.field_im) + lane;
  for (int i = 0; i < g.n; ++i) {
    const double x = field[2 * g.order[i]];
    const double y = field[2 * g.order[i] + 1];
    good &= finite(x) && finite(y);
    re[i * W] = static_cast<real>(x);
    im[i * W] = static_cast<real>(y);
  }
  return good;
}

static bool load_row(const GraphView& g, vd* array, int lane, const double* row) {
  bool good = true;
  real* out = lanes(array) + lane;
  for (int i = 0; i < g.n; ++i) {
    out[i * W] = static_cast<real>(row[g.order[i]]);
    good &= finite(out[i * W]);
  }
  return good;
}

static void store_row(const GraphView& g, const vd* array, int lane, double* row) {
  const real* in = lanes(array) + lane;
  for (int i = 0; i < g.n; ++i) row[g.order[i]] = in[i * W];
}

static void clear_lane(const GraphView& g, const Block& b, int lane) {
  for (int i = 0; i < g.n; ++i) {
    lanes(b.phase)[i * W + lane] = 0.0;
    lanes(b.field_re)[i * W + lane] = 1.0;
    lanes(b.field_im)[i * W + lane] = 0.0;
    lanes(b.spread)[i * W + lane] = 0.0;
    lanes(b.margin)[i * W + lane] = 0.0;
  }
}

}  // namespace EQP_NS
}  // namespace eqp
