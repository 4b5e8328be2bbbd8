// Work on fixed blocks of samples: linear solves, selected inverse, smallest eigenvalue, and
// fixed-step integration (for the convergence test of the methods).
#pragma once

#include "certificate.hpp"
#include "rosenbrock.hpp"

namespace eqp {
namespace EQP_NS {

// Loads samples first..first+W-1 and evaluates; returns how many there are.
static int load_block(const GraphView& g, const BlockJob& job, std::int64_t first, const Block& b) {
  int count = 0;
  for (int l = 0; l < W; ++l) {
    const std::int64_t sample = first + l;
    if (sample >= job.batch) {
      clear_lane(g, b, l);
      continue;
    }
    ++count;
    clear_lane(g, b, l);
    load_field(g, b, l, job.field + 2 * sample * g.n);
    load_row(g, b.phase, l, job.phases + sample * g.n);
    for (int i = 0; i < g.n; ++i) {
      double& x = lanes(b.phase)[i * W + l];
      x -= whole_turns(x);
    }
  }
  vd largest, squares;
  evaluate(g, b, b.phase, b.force, largest, squares);
  return count;
}

static void task_solve(const GraphView& g, const BlockJob& job, std::int64_t first,
                       double* workspace) {
  Block b;
  lay_out(g, workspace, b);
  const int count = load_block(g, job, first, b);
  for (int i = 0; i < g.n; ++i) b.stage[0][i] = zero();
  for (int l = 0; l < count; ++l) load_row(g, b.stage[0], l, job.rhs + (first + l) * g.n);
  factor_hessian<true>(g, b, [](int) { return zero(); });
  const int n = g.n;
  for (int i = 0; i < n; ++i) b.stage[1][i] = b.stage[0][i];
  // Signed pivots without exchanges may lose digits; one refinement restores them.
  for (int round = 0; round < 2; ++round) {
    if (round > 0) {
      multiply_hessian(g, b, b.stage[2], b.stage[3], b.stage[4], b.stage[1]);
      for (int i = 0; i < n; ++i) b.stage[1][i] = b.stage[0][i] - b.stage[1][i];
    }
    forward(g, b.factor, b.stage[1]);
    for (int i = 0; i < n; ++i) b.stage[1][i] = b.stage[1][i] * b.factor.sign[i];
    backward(g, b.factor, b.stage[1]);
    for (int i = 0; i < n; ++i)
      b.stage[2][i] = round > 0 ? b.stage[2][i] + b.stage[1][i] : b.stage[1][i];
  }
  for (int l = 0; l < count; ++l) store_row(g, b.stage[2], l, job.out + (first + l) * g.n);
}

static void task_selected_inverse(const GraphView& g, const BlockJob& job, std::int64_t first,
                                  double* workspace) {
  Block b;
  lay_out(g, workspace, b);
  const int count = load_block(g, job, first, b);
  factor_hessian<false>(g, b, [](int) { return zero(); });
  selected_inverse(g, b.factor, b.inverse_work, b.second.panel, b.inverse_diagonal);
  for (int l = 0; l < count; ++l) {
    store_row(g, b.inverse_diagonal, l, job.out + (first + l) * g.n);
    double* bonds = job.out_bonds + (first + l) * g.n_bonds;
    for (int q = 0; q < g.n_supernodes; ++q) {
      const Supernode& s = g.supernodes[q];
      const vd* panel = b.second.panel + s.panel;
      for (int e = s.entry_begin; e < s.entry_end; ++e)
        bonds[g.entries[e].bond] = panel[g.entries[e].pos][l];
    }
  }
}

// Brackets the eigenvalue: below, H - x I factorises (rigorous); above, a Rayleigh quotient or
// a failed factorisation. Inverse iteration at the lower end improves the vector; the next
// trial lies two residuals below the quotient, else in the middle of the bracket.
static void task_smallest_eigenvalue(const GraphView& g, const BlockJob& job, std::int64_t first,
                                     double* workspace) {
  Block b;
  lay_out(g, workspace, b);
  const int n = g.n;
  const int count = load_block(g, job, first, b);
  vd *x = b.stage[0], *y = b.stage[1], *hx = b.stage[2], *wx = b.stage[3], *wy = b.stage[4];
  std::uint64_t seed = 0x9e3779b97f4a7c15ULL;
  for (int i = 0; i < n; ++i) {
    seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
    x[i] = splat(1.0 + static_cast<double>(seed >> 40) / 16777216.0 - 0.5);
  }
  double low[W], high[W], scale[W];
  vd trial = zero();
  bool open[W];
  for (int l = 0; l < W; ++l) {
    double bound = 0.0, top = 1e300, total = 0.0;
    for (int i = 0; i < n; ++i) {
      const double re = lanes(b.field_re)[i * W + l], im = lanes(b.field_im)[i * W + l];
      const double r = g.stiffness[i] + ::sqrt(re * re + im * im);
      const double d = lanes(b.curvature)[i * W + l];
      if (r > bound) bound = r;
      if (d < top) top = d;
      total += r + d;
    }
    scale[l] = bound;
    low[l] = -1.01 * bound - 1e-300;
    high[l] = top;  // a diagonal entry is a Rayleigh quotient
    lanes(&trial)[l] = 0.0;
    if (!(top > 0.0)) lanes(&trial)[l] = low[l];
    open[l] = l < count && finite(total);
    if (l < count && !open[l]) job.out[first + l] = total - total;  // NaN
  }
  for (int round = 0; round < 200; ++round) {
    bool any = false;
    for (int l = 0; l < W; ++l) any = any || open[l];
    if (!any) return;
    const vi ok = factor_hessian<false>(g, b, [&](int) { return -trial; });
    for (int i = 0; i < n; ++i) y[i] = x[i];
    for (int repeat = 0; repeat < 3; ++repeat) {
      solve(g, b.factor, y);
      vd norm = zero();
      for (int i = 0; i < n; ++i) norm = fma(y[i], y[i], norm);
      norm = splat(1.0) / root(norm);
      for (int i = 0; i < n; ++i) y[i] = y[i] * norm;
    }
    for (int i = 0; i < n; ++i) x[i] = select(ok, y[i], x[i]);
    multiply_hessian(g, b, x, wx, wy, hx);
    vd xx = zero(), xh = zero(), rr = zero();
    for (int i = 0; i < n; ++i) {
      xx = fma(x[i], x[i], xx);
      xh = fma(x[i], hx[i], xh);
    }
    const vd quotient = xh / xx;
    for (int i = 0; i < n; ++i) {
      const vd r = fnma(quotient, x[i], hx[i]);
      rr = fma(r, r, rr);
    }
    const vd residual = root(rr / xx);
    for (int l = 0; l < W; ++l) {
      if (!open[l]) continue;
      const double at = lanes(&trial)[l];
      const double q = lanes(&quotient)[l];
      const double r = lanes(&residual)[l];
      if (ok[l]) {
        if (at > low[l]) low[l] = at;
      } else if (at < high[l]) {
        high[l] = at;
      }
      if (q < high[l]) high[l] = q;
      const double gap = high[l] - low[l];
      const double size = ::fabs(high[l]);
      if (gap <= 1e-10 * size || gap <= 4e-16 * scale[l] * n) {
        job.out[first + l] = high[l];
        open[l] = false;
        continue;
      }
      double guess = q - 2.0 * r - 2e-11 * size;
      const double middle = low[l] + 0.5 * gap;
      if (!(guess > low[l]) || !(guess < high[l]) || !ok[l]) guess = middle;
      lanes(&trial)[l] = guess;
    }
  }
  for (int l = 0; l < count; ++l)
    if (open[l]) job.out[first + l] = high[l];
}

// out: 1 where the segment form of the certificate holds.
static void task_segment(const GraphView& g, const BlockJob& job, std::int64_t first,
                         double* workspace) {
  Block b;
  lay_out(g, workspace, b);
  const int count = load_block(g, job, first, b);
  vi wanted = splat_int(0), positive;
  for (int l = 0; l < count; ++l) {
    load_row(g, b.spread, l, job.rhs + (first + l) * g.n);
    load_row(g, b.margin, l, job.margin + (first + l) * g.n);
    wanted[l] = -1;
  }
  std::int64_t spent;
  const vi pass = certificate(g, b, job.theta, Trial::kSegment, wanted, positive, spent);
  for (int l = 0; l < count; ++l) job.out[first + l] = pass[l] != 0 ? 1.0 : 0.0;
}

static void task_integrate(const GraphView& g, const BlockJob& job, std::int64_t first,
                           double* workspace) {
  Block b;
  lay_out(g, workspace, b);
  const int count = load_block(g, job, first, b);
  vd largest, squares, error;
  for (std::int64_t k = 0; k < job.n_steps; ++k) {
    rosenbrock_step(g, b, job.rodas4 ? kRodas4 : kRodas3, splat(job.h), error);
    for (int i = 0; i < g.n; ++i) b.phase[i] = b.trial[i];
    evaluate(g, b, b.phase, b.force, largest, squares);
  }
  for (int l = 0; l < count; ++l) store_row(g, b.phase, l, job.out + (first + l) * g.n);
}

}  // namespace EQP_NS
}  // namespace eqp
