// Gradient and Hessian of an XY network, row by row, from phasors.
#pragma once

#include <vector>

#include "graph.hpp"
#include "workers.hpp"

namespace eqp {

struct Sample {
  const Graph& graph;
  std::vector<double> coupling;          // per CSR entry
  std::vector<double> field_re, field_im;  // (n)
};

class State {
 public:
  State(const Sample& sample, Workers& workers);

  // Phasors, gradient and, where asked, Hessian at the phases.
  void at(const double* phases, bool with_hessian);

  std::vector<double> cosine, sine;
  std::vector<double> gradient;  // ∂F/∂φ
  std::vector<double> values;    // off-diagonal of H, per CSR entry
  std::vector<double> diagonal;  // of H
  double gradient_max = 0.0;     // max |g|, NaN if one is
  double gradient_sum = 0.0;     // Σ g², with the Hessian only

 private:
  const Sample& sample_;
  Workers& workers_;
  Chunks chunks_;
};

// max_i (2 Σ_j |J_ij| + |b_i|): no eigenvalue of H is larger.
double stiffness(const Sample& sample);

}  // namespace eqp
