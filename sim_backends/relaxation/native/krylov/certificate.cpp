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

bool Certificate::contains(const std::vector<double>& centre, const std::vector<double>& end) {
  const double square = chunks_.sum(workers_, [&](int begin, int stop) {
    double sum = 0.0;
    for (int i = begin; i < stop; ++i) sum += (end[i] - centre[i]) * (end[i] - centre[i]);
    return sum;
  });
  return std::sqrt(square) <= span_ + 1e-10;  // an equilibrium is known to rounding only
}

bool Certificate::joins(const State& state, const std::vector<double>& delta,
                        const std::vector<double>& change) {
  const Graph& graph = sample_.graph;
  const double square = chunks_.sum(workers_, [&](int begin, int end) {
    double sum = 0.0;
    for (int i = begin; i < end; ++i) {
      const double d = std::fabs(delta[i]);
      double q = std::hypot(sample_.field_re[i], sample_.field_im[i]) * d * d +
                 (2.0 * d + d * d) * change[i];
      for (auto k = graph.row[i]; k < graph.row[i + 1]; ++k) {
        const double turn = delta[i] - delta[graph.column[k]];
        q += std::fabs(sample_.coupling[k]) * turn * turn;
      }
      const double g = std::fabs(state.gradient[i]) + 0.125 * q;
      sum += g * g;
    }
    return sum;
  });
  const Branch branch{delta.data(), change.data(), std::sqrt(square)};
  return test(state, &branch);
}

bool Certificate::test(const State& state, const Branch* branch) {
  if (!std::isfinite(state.gradient_max)) return false;
  // λ ≥ ‖g‖/√ρ: skip where even that is too much for the eigenvalue last seen.
  const double least = std::sqrt(state.gradient_sum / std::max(stiffness_, 1e-300));
  if (2.0 * least / theta_ * std::sqrt(2.0 / last_eigenvalue_) > kFarthest) return false;
  if (solution_.empty()) {
    solution_.resize(state.diagonal.size());
    values_.resize(state.values.size());
    diagonal_.resize(state.diagonal.size());
  }
  return linear_.direct() ? direct(state, branch) : iterative(state, branch);
}

// R, from gᵀH₀⁻¹g and a lower bound of the smallest eigenvalue.
double Certificate::radius(double square, double bound, const Branch* branch) const {
  const double lambda =
      branch == nullptr ? std::sqrt(std::max(square, 0.0)) : branch->excess / std::sqrt(bound);
  return 2.0 * lambda / theta_;
}

bool Certificate::direct(const State& state, const Branch* branch) {
  const double *values = state.values.data(), *diagonal = state.diagonal.data();
  if (!linear_.factorise(values, diagonal, 1.0, 0.0)) return false;
  linear_.back_solve(state.gradient.data(), solution_.data());
  const double square = chunks_.sum(workers_, [&](int begin, int end) {
    return dot(state.gradient.data(), solution_.data(), begin, end);
  });
  // A Lanczos run may overlook the smallest eigenvalue: the proof tells, and a longer run follows.
  double tolerance = 0.03;
  for (int limit : {30, 80}) {
    const double ritz = inverse_lanczos(linear_, sample_.graph, workers_, 0.0, tolerance, limit);
    if (!(ritz > 0.0)) return false;
    last_eigenvalue_ = ritz;
    const double bound = 0.8 * ritz;
    span_ = radius(square, bound, branch) / std::sqrt(bound);
    const double reach = span_ * std::sqrt(2.0);
    if (!(reach <= kFarthest)) return false;
    weigh(state, reach, branch);
    if (!linear_.factorise(values_.data(), diagonal_.data(), 1.0, 0.0)) return false;
    if (linear_.factorise(values, diagonal, 1.0, -bound)) return true;
    if (!linear_.factorise(values, diagonal, 1.0, 0.0)) return false;
    tolerance = 1e-6;
  }
  return false;
}

bool Certificate::iterative(const State& state, const Branch* branch) {
  const Matrix h{&sample_.graph, state.values.data(), state.diagonal.data(), 0.0};
  double square = 0.0;
  if (branch == nullptr) {
    linear_.incomplete.build(h);
    std::fill(solution_.begin(), solution_.end(), 0.0);
    const Solution solved = linear_.cg.solve(h, linear_.incomplete, state.gradient.data(),
                                             solution_.data(), 1e-3 * state.gradient_max, 20000);
    linear_.iterations += solved.iterations;
    if (solved.outcome != Outcome::kConverged) return false;
    square = 1.2 * chunks_.sum(workers_, [&](int begin, int end) {  // known to three digits only
      return dot(state.gradient.data(), solution_.data(), begin, end);
    });
  }
  const double ritz = rayleigh_descent(linear_, h, workers_, stiffness_, 1e-2, 2000);
  if (!(ritz > 0.0)) return false;
  last_eigenvalue_ = ritz;
  const double bound = 0.5 * ritz;
  span_ = radius(square, bound, branch) / std::sqrt(bound);
  const double reach = span_ * std::sqrt(2.0);
  if (!(reach <= kFarthest)) return false;
  return weigh(state, reach, branch) < (1.0 - theta_) * bound;
}

double Certificate::weigh(const State& state, double reach, const Branch* branch) {
  const Graph& graph = sample_.graph;
  const double* delta = branch == nullptr ? nullptr : branch->delta;
  const auto loss = [](double strength, double turn, double angle) {
    return std::min(2.0 * strength, turn * angle + 0.5 * strength * angle * angle);
  };
  return chunks_.max(workers_, [&](int begin, int end) {
    double most = 0.0;
    for (int i = begin; i < end; ++i) {
      const double si = state.sine[i], ci = state.cosine[i];
      double sum = 0.0;
      for (auto k = graph.row[i]; k < graph.row[i + 1]; ++k) {
        const std::int32_t j = graph.column[k];
        const double strength = std::fabs(sample_.coupling[k]);
        const double turn = strength * std::fabs(si * state.cosine[j] - ci * state.sine[j]);
        const double moved = delta == nullptr ? 0.0 : std::fabs(delta[i] - delta[j]);
        const double w = loss(strength, turn, reach + moved);
        values_[k] = (1.0 - theta_) * state.values[k] + w;
        sum += w;
      }
      const double re = sample_.field_re[i], im = sample_.field_im[i];
      const double moved = delta == nullptr ? 0.0 : std::fabs(delta[i]);
      const double w = (branch == nullptr ? 0.0 : branch->change[i]) +
                       loss(std::hypot(re, im), std::fabs(re * si - im * ci),
                            reach / std::sqrt(2.0) + moved);
      diagonal_[i] = (1.0 - theta_) * state.diagonal[i] - sum - w;
      most = std::max(most, 2.0 * sum + w);
    }
    return most;
  });
}

}  // namespace eqp
