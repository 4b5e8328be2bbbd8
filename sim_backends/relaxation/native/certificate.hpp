// The relaxation certificate: a proof that the flow from a state ends in one point.
//
// With H0 = H(phi) positive definite, lambda = sqrt(g^T H0^-1 g) and R = 2 lambda / theta: if
// H >= theta H0 in the ball |x - phi|_H0 <= R, then F rises above F(phi) before the ball's
// edge, the sublevel component lies inside and is convex there. The sufficient test bounds the
// change of every bond's and field's curvature by entries of H0^-1.
#pragma once

#include "system.hpp"

namespace eqp {
namespace EQP_NS {

EQP_INLINE vd curvature_change(vd sine, vd distance) {
  const vd d = smaller(distance, splat(4.0));  // beyond, the bound 2 holds anyway
  const vd change = fma(absolute(sine), d, splat(0.5) * d * d);
  return smaller(change, splat(2.0));
}

// Needs evaluate() at b.phase. Leaves the factor of H0 in b.factor and the Newton step
// H0^-1 f in b.work. `positive` receives the lanes where H0 is positive definite.
// `wanted` marks the lanes that matter: work is cut short when none of them can pass.
//
// Segment form, for continuation: the state is the middle of the chord between equilibria of
// two fields, b.field the middle field, b.spread half the chord and b.margin half the change
// of |field|. The ball is then swept along the chord; `slack` = 2 covers the residual along
// it, which to leading order in the chord's length is largest in the middle. Where the test
// holds, H is positive definite in the swept region for every field in between, and one
// smooth branch joins the two equilibria.
static vi certificate(const GraphView& g, const Block& b, double theta, double slack, vi wanted,
                      vi& positive, std::int64_t& factorisations) {
  const int n = g.n;
  positive = factor_hessian<false>(g, b, [](int) { return zero(); });
  factorisations = 1;
  vd lambda2 = zero();
  for (int i = 0; i < n; ++i) b.work[i] = b.force[i];
  forward(g, b.factor, b.work);
  for (int i = 0; i < n; ++i) lambda2 = fma(b.work[i], b.work[i], lambda2);
  backward(g, b.factor, b.work);
  const vd radius = root(lambda2) * splat(2.0 * slack / theta);
  const vd keep = splat(1.0 - theta);

  vi pass = positive & wanted;
  bool any = false;
  for (int l = 0; l < W; ++l) any = any || pass[l] != 0;
  if (!any) return pass;

  // G_ii >= 1/H_ii: where the test fails with that, it fails.
  vd* diagonal = b.stage[0];
  const vd radius2 = radius * radius;
  for (int i = 0; i < n; ++i) diagonal[i] = keep * b.curvature[i];
  const int n_entries = g.n_bonds;
  for (int e = 0; e < n_entries; ++e) {
    const Entry& at = g.entries[e];
    const double j = g.entry_j[e];
    const vd cosine = entry_cosine(b, at);
    const vd stiff = fma(splat(2.0 * j), cosine, b.curvature[at.row] + b.curvature[at.col]);
    const vd distance = root(splat(4.0) * radius2 / stiff);
    const vd w = splat(::fabs(j)) * curvature_change(entry_sine(b, at), distance);
    diagonal[at.row] -= w;
    diagonal[at.col] -= w;
  }
  for (int i = 0; i < n; ++i) pass &= less(zero(), diagonal[i]);
  any = false;
  for (int l = 0; l < W; ++l) any = any || pass[l] != 0;
  if (!any) return pass;

  vd* inverse = b.second.panel;
  selected_inverse(g, b.factor, b.inverse_work, inverse, b.inverse_diagonal);
  factorisations += 2;
  for (int i = 0; i < n; ++i) {
    const vd strength2 =
        fma(b.field_re[i], b.field_re[i], b.field_im[i] * b.field_im[i]);
    // |b| |sin(phi - psi)| = |Im(b* e^{i phi})|
    const vd torque = fnma(b.field_im[i], b.cosine[i], b.field_re[i] * b.sine[i]);
    const vd strength = root(strength2);
    const vd d = smaller(
        fma(radius, root(b.inverse_diagonal[i]), absolute(b.spread[i])), splat(4.0));
    const vd change = fma(absolute(torque), d, splat(0.5) * strength * d * d);
    diagonal[i] =
        fma(keep, b.curvature[i], -smaller(change, splat(2.0) * strength)) - b.margin[i];
  }
  for (int q = 0; q < g.n_supernodes; ++q) {
    const Supernode& s = g.supernodes[q];
    const vd* panel = inverse + s.panel;
    for (int e = s.entry_begin; e < s.entry_end; ++e) {
      const Entry& at = g.entries[e];
      const double j = g.entry_j[e];
      const vd spread = fma(splat(-2.0), panel[at.pos],
                            b.inverse_diagonal[at.row] + b.inverse_diagonal[at.col]);
      const vd distance = fma(radius, root(larger(spread, zero())),
                              absolute(b.spread[at.row] - b.spread[at.col]));
      const vd w = splat(::fabs(j)) * curvature_change(entry_sine(b, at), distance);
      b.bond[e] = fma(splat(-(1.0 - theta) * j), entry_cosine(b, at), w);
      diagonal[at.row] -= w;
      diagonal[at.col] -= w;
    }
  }
  pass &= factorise<false>(
      g, b.second, [&](int e) { return b.bond[e]; }, [&](int i) { return diagonal[i]; });
  factorisations += 1;
  return pass;
}

}  // namespace EQP_NS
}  // namespace eqp
