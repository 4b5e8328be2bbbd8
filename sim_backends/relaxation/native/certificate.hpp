// The relaxation certificate: a proof that the flow from a state ends in one point.
//
// With H0 = H(phi) positive definite, g = dF/dphi, d = -H0^-1 g, lambda = sqrt(g^T H0^-1 g), the
// Newton point c = phi + d and lambda_c = sqrt(g_c^T H0^-1 g_c): let H >= theta H0 in the ball
// |x - c| <= R (norm of H0), which contains phi. Convexity on the way from phi to c gives
// F(phi) - F(c) <= lambda^2 (1 - theta / 2); at the ball's edge F >= F(c) - lambda_c R + theta R^2 / 2.
// Where that exceeds F(phi) the flow from phi cannot leave the ball, in which F is convex: with
// R = (lambda_c + sqrt(lambda_c^2 + theta (2 - theta) lambda^2)) / theta, never below lambda. A
// ball around phi itself needs R = 2 lambda / theta, more than twice as much. The sufficient test
// bounds the change of every bond's and field's curvature by entries of H0^-1.
#pragma once

#include "system.hpp"

namespace eqp {
namespace EQP_NS {

EQP_INLINE vd curvature_change(vd sine, vd distance) {
  const vd d = smaller(distance, splat(4.0));  // beyond, the bound 2 holds anyway
  const vd change = fma(absolute(sine), d, splat(0.5) * d * d);
  return smaller(change, splat(2.0));
}

// How far a trial goes: `kScreen` ends after what is cheap, where most fail.
enum class Trial { kScreen, kWhole, kSegment };

// Needs evaluate() at b.phase. Leaves the factor of H0 in b.factor and the Newton step
// H0^-1 f in b.work. `positive` receives the lanes where H0 is positive definite.
// `wanted` marks the lanes that matter: work is cut short when none of them can pass.
//
// Segment form, for continuation: the state is the middle of the chord between equilibria of
// two fields, b.field the middle field, b.spread half the chord and b.margin half the change
// of |field|. The ball around the state itself is swept along the chord; a radius of 4 lambda /
// theta covers the residual along it, which to leading order in the chord's length is largest
// in the middle. Where the test holds, H is positive definite in the swept region for every
// field in between, and one smooth branch joins the two equilibria.
static vi certificate(const GraphView& g, const Block& b, double theta, Trial trial, vi wanted,
                      vi& positive, std::int64_t& factorisations) {
  const int n = g.n;
  const int n_entries = g.n_bonds;
  positive = factor_hessian<false>(g, b, [](int) { return zero(); });
  factorisations = 1;
  vi pass = positive & wanted;
  if (!any_lane(pass)) {
    for (int i = 0; i < n; ++i) b.work[i] = zero();
    return pass;
  }
  vd lambda2 = zero();
  for (int i = 0; i < n; ++i) b.work[i] = b.force[i];
  forward(g, b.factor, b.work);
  for (int i = 0; i < n; ++i) lambda2 = fma(b.work[i], b.work[i], lambda2);
  backward(g, b.factor, b.work);

  // theta H0, of which `curvature` and `bond` keep the entries, and the sines and cosines at
  // the ball's centre.
  const vd part = splat(theta);
  vd* diagonal = b.stage[0];
  vd* curvature = b.stage[1];
  vd radius;
  for (int i = 0; i < n; ++i) curvature[i] = b.curvature[i];
  for (int e = 0; e < n_entries; ++e) b.bond[e] = entry_cosine(b, g.entries[e]);
  if (trial == Trial::kSegment) {
    radius = root(lambda2) * splat(4.0 / theta);
  } else {
    vd longest = zero();
    for (int i = 0; i < n; ++i) {
      longest = larger(absolute(b.work[i]), longest);
      b.trial[i] = b.phase[i] + b.work[i];
    }
    // Beyond, nothing can be proven, and sines lose their digits.
    pass &= less(longest, splat(3.0));
    for (int i = 0; i < n; ++i) b.trial[i] = select(pass, b.trial[i], b.phase[i]);
    vd top, squares;
    evaluate(g, b, b.trial, b.stage[2], top, squares);
    forward(g, b.factor, b.stage[2]);
    vd rest2 = zero();
    for (int i = 0; i < n; ++i) rest2 = fma(b.stage[2][i], b.stage[2][i], rest2);
    radius = (root(rest2) + root(fma(splat(theta * (2.0 - theta)), lambda2, rest2))) *
             splat(1.0 / theta);
  }

  // G_ii >= 1/H_ii: where the test fails with that, it fails.
  const vd radius2 = radius * radius;
  for (int i = 0; i < n; ++i) diagonal[i] = fma(-part, curvature[i], b.curvature[i]);
  for (int e = 0; e < n_entries; ++e) {
    const Entry& at = g.entries[e];
    const double j = g.entry_j[e];
    const vd stiff = fma(splat(2.0 * j), b.bond[e], curvature[at.row] + curvature[at.col]);
    const vd distance = root(splat(4.0) * radius2 / stiff);
    const vd w = splat(::fabs(j)) * curvature_change(entry_sine(b, at), distance);
    diagonal[at.row] -= w;
    diagonal[at.col] -= w;
  }
  for (int i = 0; i < n; ++i) pass &= less(zero(), diagonal[i]);
  if (trial == Trial::kScreen || !any_lane(pass)) return pass;

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
        fma(-part, curvature[i], b.curvature[i]) - smaller(change, splat(2.0) * strength) -
        b.margin[i];
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
      b.bond[e] = fma(splat(-j), fma(-part, b.bond[e], entry_cosine(b, at)), w);
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
