// The relaxation certificate for large graphs.
//
// With H₀ = H(φ), g = ∂F/∂φ, λ² = gᵀH₀⁻¹g, R = 2λ/θ: if H ≥ θH₀ in the ball ‖x−φ‖_{H₀} ≤ R, F
// rises above F(φ) before the ball's edge, so the sublevel component of φ lies inside, F is
// strictly convex there, and the flow from φ ends in its one critical point.
//
// In that ball a displacement d has dᵀH₀d ≤ R². Let μ be the smallest eigenvalue of H₀. Then
// ‖d‖² ≤ R²/μ, and by Cauchy-Schwarz |d_i − d_j| ≤ √2·R/√μ =: D on every bond, |d_i| ≤ D/√2 on
// every field. The bond's curvature J cos(φ_i−φ_j+δ), |δ| ≤ D, differs from that at φ by at most
//     w_ij = |J_ij|·min(2, |sin(φ_i−φ_j)|·D + D²/2),
// the field's by w_i likewise, hence H ≥ H₀ − W with W the Laplacian of the w_ij plus diag(w_i),
// and H ≥ θH₀ follows if (1−θ)H₀ − W is positive definite.
//
// With a sparse factor both needed facts are proven by Cholesky (Sylvester's law of inertia):
// H₀ − μI > 0 for a μ somewhat below the Ritz value, and (1−θ)H₀ − W > 0. Without a factor μ
// is half of a Ritz value (an estimate, not a bound), and the second fact is replaced by
// max_i (2Σ_j w_ij + w_i) < (1−θ)μ (Gershgorin bounds ‖W‖); a verdict then rests on the estimate.
#pragma once

#include <vector>

#include "linear.hpp"
#include "xy.hpp"

namespace eqp {

class Certificate {
 public:
  Certificate(const Sample& sample, Linear& linear, Workers& workers, double theta);

  // Is it proven that the flow from the state ends in one point? Overwrites the factor.
  bool holds(const State& state) { return test(state, nullptr); }

  // After a verdict that holds: does `end` lie in the ball around the state's phases `centre`?
  // (‖end − centre‖ ≤ R/√μ.) Newton from the centre might have strayed.
  bool contains(const std::vector<double>& centre, const std::vector<double>& end);

  // Does one smooth branch of equilibria join `from`, an equilibrium of the field b − Δ, to the
  // only equilibrium of b near the state at p? δ = p − from, `change` bounds |Δ_i|.
  //
  // Along p(τ) = p − τδ with field b − τΔ the gradient is g at τ = 0 and 0 at τ = 1. Its second
  // derivative is at most q_i = Σ_j |J_ij|(δ_i−δ_j)² + |b_i|δ_i² + (2|δ_i| + δ_i²)|Δ_i|, so that
  // |g_i(τ)| ≤ |g_i| + q_i/8 and λ(τ) ≤ λ* = ‖|g| + q/8‖/√μ. With D from R = 2λ*/θ, enlarged on
  // each bond by |δ_i−δ_j| and at each field by |δ_i|, and |Δ_i| added to w_i, the test proves
  // H ≥ θH₀ in the ball of radius R around every p(τ), for its field: one equilibrium in each,
  // never at its edge, hence one branch.
  bool joins(const State& state, const std::vector<double>& delta,
             const std::vector<double>& change);

 private:
  struct Branch {
    const double *delta, *change;
    double excess;  // ‖|g| + q/8‖
  };
  bool test(const State& state, const Branch* branch);
  bool direct(const State& state, const Branch* branch);
  bool iterative(const State& state, const Branch* branch);
  double radius(double square, double bound, const Branch* branch) const;
  // (1−θ)H₀ − W into values_ and diagonal_; returns Gershgorin's bound of ‖W‖.
  double weigh(const State& state, double reach, const Branch* branch);

  const Sample& sample_;
  Linear& linear_;
  Workers& workers_;
  Chunks chunks_;
  double theta_, stiffness_;
  double span_ = 0.0;       // R/√μ of the last test
  double last_eigenvalue_;  // of the last state where H was positive definite
  std::vector<double> solution_, values_, diagonal_;
};

}  // namespace eqp
