#include "certificate.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"
#include "spectrum.hpp"

namespace eqp {
namespace {

// Where bonds may turn further than this, (1−θ)H₀ − W is never positive definite: a bond with
// |sin| D + D²/2 > 1 could have its curvature reversed, and W exceed H₀ on it.
constexpr double kFarthest = 1.5;

}  // namespace

Certificate::Certificate(const Sample& sample, Linear& linear, Workers& workers, double theta)
    : sample_(sample),
      linear_(linear),
      workers_(workers),
      chunks_(sample.graph.n),
      theta_(theta),
      stiffness_(stiffness(sample)),
      last_eigenvalue_(stiffness_) {}

bool Certificate::holds(const State& state) {
  if (!std::isfinite(state.gradient_max)) return false;
  // λ ≥ ‖g‖/√ρ: skip where even that is too much for the eigenvalue last seen.
  const double least = std::sqrt(state.gradient_sum / std::max(stiffness_, 1e-300));
  if (2.0 * least / theta_ * std::sqrt(2.0 / last_eigenvalue_) > kFarthest) return false;
  if (solution_.empty()) {
    solution_.resize(state.diagonal.size());
    values_.resize(state.values.size());
    diagonal_.resize(state.diagonal.size());
  }
  return linear_.direct() ? direct(state) : iterative(state);
}

bool Certificate::direct(const State& state) {
  const double *values = state.values.data(), *diagonal = state.diagonal.data();
  if (!linear_.factorise(values, diagonal, 1.0, 0.0)) return false;
  linear_.back_solve(state.gradient.data(), solution_.data());
  const double square = chunks_.sum(workers_, [&](int begin, int end) {
    return dot(state.gradient.data(), solution_.data(), begin, end);
  });
  const double radius = 2.0 * std::sqrt(std::max(square, 0.0)) / theta_;
  const double ritz = inverse_lanczos(linear_, sample_.graph, workers_, 0.0, 0.1, 30);
  if (!(ritz > 0.0)) return false;
  last_eigenvalue_ = ritz;
  const double bound = 0.8 * ritz;
  const double reach = radius * std::sqrt(2.0 / bound);
  if (!(reach <= kFarthest)) return false;
  weigh(state, reach);
  return linear_.factorise(values_.data(), diagonal_.data(), 1.0, 0.0) &&
         linear_.factorise(values, diagonal, 1.0, -bound);
}

bool Certificate::iterative(const State& state) {
  const Matrix h{&sample_.graph, state.values.data(), state.diagonal.data(), 0.0};
  linear_.incomplete.build(h);
  std::fill(solution_.begin(), solution_.end(), 0.0);
  const Solution solved = linear_.cg.solve(h, linear_.incomplete, state.gradient.data(),
                                           solution_.data(), 1e-3 * state.gradient_max, 20000);
  linear_.iterations += solved.iterations;
  if (solved.outcome != Outcome::kConverged) return false;
  const double square = chunks_.sum(workers_, [&](int begin, int end) {
    return dot(state.gradient.data(), solution_.data(), begin, end);
  });
  const double ritz = rayleigh_descent(linear_, h, workers_, stiffness_, 1e-2, 2000);
  if (!(ritz > 0.0)) return false;
  last_eigenvalue_ = ritz;
  const double bound = 0.5 * ritz;
  // 1.1: the gradient was solved for to three digits only.
  const double radius = 1.1 * 2.0 * std::sqrt(std::max(square, 0.0)) / theta_;
  const double reach = radius * std::sqrt(2.0 / bound);
  if (!(reach <= kFarthest)) return false;
  return weigh(state, reach) < (1.0 - theta_) * bound;
}

double Certificate::weigh(const State& state, double reach) {
  const Graph& graph = sample_.graph;
  const double field_reach = reach / std::sqrt(2.0);
  return chunks_.max(workers_, [&](int begin, int end) {
    double most = 0.0;
    for (int i = begin; i < end; ++i) {
      const double si = state.sine[i], ci = state.cosine[i];
      double sum = 0.0;
      for (auto k = graph.row[i]; k < graph.row[i + 1]; ++k) {
        const std::int32_t j = graph.column[k];
        const double turn = std::fabs(si * state.cosine[j] - ci * state.sine[j]);
        const double w = std::fabs(sample_.coupling[k]) *
                         std::min(2.0, turn * reach + 0.5 * reach * reach);
        values_[k] = (1.0 - theta_) * state.values[k] + w;
        sum += w;
      }
      const double re = sample_.field_re[i], im = sample_.field_im[i];
      const double w = std::min(2.0 * std::hypot(re, im),
                                std::fabs(re * si - im * ci) * field_reach +
                                    0.5 * std::hypot(re, im) * field_reach * field_reach);
      diagonal_[i] = (1.0 - theta_) * state.diagonal[i] - sum - w;
      most = std::max(most, 2.0 * sum + w);
    }
    return most;
  });
}

}  // namespace eqp
