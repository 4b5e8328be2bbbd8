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
  bool holds(const State& state);

 private:
  bool direct(const State& state);
  bool iterative(const State& state);
  double weigh(const State& state, double reach);  // fills W's parts, returns its row bound

  const Sample& sample_;
  Linear& linear_;
  Workers& workers_;
  Chunks chunks_;
  double theta_, stiffness_;
  double last_eigenvalue_;  // of the last state where H was positive definite
  std::vector<double> solution_, values_, diagonal_;
};

}  // namespace eqp
