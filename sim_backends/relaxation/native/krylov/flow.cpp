#include "flow.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"

namespace eqp {
namespace {

constexpr double kSolveShare = 0.03;  // accuracy of a stage's solution, in step tolerances
constexpr std::int64_t kIterationLimit = 20000;
constexpr int kRetry = 25;  // direct steps after which conjugate gradients are tried again

}  // namespace

Flow::Flow(const Sample& sample, Linear& linear, Workers& workers, const Options& options)
    : sample_(sample),
      linear_(linear),
      workers_(workers),
      options_(options),
      tableau_(options.rodas4 ? kRodas4 : kRodas3),
      chunks_(sample.graph.n),
      state_(sample, workers),
      stage_state_(sample, workers),
      point_(static_cast<std::size_t>(sample.graph.n)),
      end_(point_.size()),
      next_try_(options.certificate_gradient),
      settled_(options.flow_residual),
      budget_(kIterationLimit),
      partial_(static_cast<std::size_t>(12 * chunks_.count())) {
  if (linear.direct()) {
    const double direct = linear.factor_seconds() + tableau_.stages * linear.solve_seconds();
    budget_ = std::max<std::int64_t>(
        tableau_.stages, static_cast<std::int64_t>(direct / linear.iteration_seconds()));
  }
  for (int s = 0; s < tableau_.stages; ++s) {
    stage_[s].resize(point_.size());
    rhs_[s].resize(point_.size());
  }
}

void Flow::demand(double factor) {
  next_try_ = factor * state_.gradient_max;
  settled_ = std::min(settled_, factor * state_.gradient_max);
}

Pause Flow::run(std::vector<double>& phases, Certificate& certificate) {
  state_.at(phases.data(), true);
  if (!std::isfinite(state_.gradient_max)) return Pause::kNotFinite;
  if (step_ == 0.0) {
    const double rate = std::max(stiffness(sample_), 1e-300);
    const double speed = std::max(state_.gradient_max, 1e-300);
    step_ = std::min(1.0 / rate, 0.5 * std::cbrt(options_.tolerance) / speed);
  }
  bool shrink_only = false;
  for (;;) {
    if (!shrink_only) {
      const double largest_gradient = state_.gradient_max;
      if (options_.certificate && largest_gradient < next_try_) {
        if (certificate.holds(state_)) return Pause::kCertified;
        next_try_ = options_.certificate_backoff * largest_gradient;
      }
      if (largest_gradient <= settled_) return Pause::kSettled;
    }
    if (steps + rejected >= options_.max_steps || time >= options_.t_max) return Pause::kLimit;
    double error = 0.0;
    const Attempt outcome = attempt(phases, error);
    if (outcome == Attempt::kNotPositive) {
      ++rejected;
      step_ *= 0.3;
      shrink_only = true;
      continue;
    }
    if (outcome == Attempt::kNotFinite) error = 1e300;
    const double factor =
        std::clamp(0.9 * std::pow(std::max(error, 1e-30), -1.0 / tableau_.order), 0.2, 8.0);
    if (error > 1.0) {
      ++rejected;
      step_ *= std::min(factor, 0.9);
      shrink_only = true;
      if (step_ < 1e-14) return Pause::kNotFinite;
      continue;
    }
    ++steps;
    time += step_;
    phases.swap(end_);
    state_.at(phases.data(), true);
    if (!std::isfinite(state_.gradient_max)) return Pause::kNotFinite;
    step_ *= shrink_only ? std::min(factor, 1.0) : factor;
    shrink_only = false;
  }
}

// One step from `phases` to `end_`; error in tolerances.
Flow::Attempt Flow::attempt(const std::vector<double>& phases, double& error) {
  if (!prepare()) return Attempt::kNotPositive;
  const Tableau& t = tableau_;
  const int stages = t.stages;
  const double* terms[6];
  double weight[6];
  for (int s = 0; s < stages; ++s) terms[s] = stage_[s].data();
  step_iterations_ = 0;
  const State* at = &state_;
  for (int s = 0; s < stages; ++s) {
    bool moved = false;
    for (int j = 0; j < s; ++j) moved = moved || t.a[s][j] != 0.0;
    if (moved) {
      chunks_.each(workers_, [&](int begin, int end) {
        combine(point_.data(), phases.data(), terms, t.a[s], s, begin, end);
      });
      stage_state_.at(point_.data(), false);
      at = &stage_state_;
      if (!std::isfinite(at->gradient_max)) return Attempt::kNotFinite;
    }
    for (int j = 0; j < s; ++j) weight[j] = t.c[s][j] / step_;
    double* rhs = rhs_[s].data();
    chunks_.each(workers_, [&](int begin, int end) {
      for (int i = begin; i < end; ++i) rhs[i] = -at->gradient[i];
      combine(rhs, rhs, terms, weight, s, begin, end);
    });
    if (!solve(s, stage_[s].data())) return Attempt::kNotPositive;
  }
  direct_steps += direct_ ? 1 : 0;
  chunks_.each(workers_, [&](int begin, int end) {
    combine(end_.data(), phases.data(), terms, t.m, stages, begin, end);
  });
  const double* last = stage_[stages - 1].data();
  error = chunks_.max(workers_, [&](int begin, int end) { return largest(last, begin, end); }) /
          options_.tolerance;
  return std::isfinite(error) ? Attempt::kTaken : Attempt::kNotFinite;
}

// Conjugate gradients until a step exceeds their budget; then factors, for as long as steps are not
// much shorter, with another try now and then. False where the matrix is not positive definite.
bool Flow::prepare() {
  step_iterations_ = 0;
  const bool dear = dear_step_ > 0.0 && step_ > 0.5 * dear_step_;
  direct_ = linear_.direct() && dear && dear_steps_ < kRetry;
  if (direct_) {
    ++dear_steps_;
    return factorise();
  }
  dear_step_ = 0.0;
  const double shift = 1.0 / (tableau_.gamma * step_);
  const Matrix a{&sample_.graph, state_.values.data(), state_.diagonal.data(), shift};
  const double least = -chunks_.max(workers_, [&](int begin, int end) {
    double most = -1e300;
    for (int i = begin; i < end; ++i) most = std::max(most, -(state_.diagonal[i] + shift));
    return most;
  });
  if (!(least > 0.0)) return false;
  linear_.incomplete.build(a);
  return true;
}

bool Flow::factorise() {
  direct_ = true;
  return linear_.factorise(state_.values.data(), state_.diagonal.data(), 1.0,
                           1.0 / (tableau_.gamma * step_));
}

bool Flow::solve(int stage, double* x) {
  const double* b = rhs_[stage].data();
  if (direct_) {
    linear_.back_solve(b, x);
    return true;
  }
  guess(stage, x);
  const double shift = 1.0 / (tableau_.gamma * step_);
  const Matrix a{&sample_.graph, state_.values.data(), state_.diagonal.data(), shift};
  // ‖A⁻¹‖ ≤ γh where H ≥ 0: an error below kSolveShare tolerances.
  const Solution solution =
      linear_.cg.solve(a, linear_.incomplete, b, x, kSolveShare * options_.tolerance * shift,
                       static_cast<int>(budget_ - std::min(step_iterations_, budget_)));
  linear_.iterations += solution.iterations;
  step_iterations_ += solution.iterations;
  if (solution.outcome == Outcome::kStalled && linear_.direct()) {
    dear_step_ = step_;
    dear_steps_ = 0;
    if (!factorise()) return false;
    linear_.back_solve(b, x);
    return true;
  }
  return solution.outcome == Outcome::kConverged;
}

// Galerkin projection onto the stages already solved: their images under A are their right sides.
void Flow::guess(int stage, double* x) {
  // All new inner products in one sweep: the last row of the Gram matrix, and the right side.
  const int row = stage - 1, count = stage == 0 ? 0 : 2 * stage;
  const double *left[12], *other[12];
  for (int j = 0; j < stage; ++j) {
    left[j] = stage_[row].data();
    other[j] = rhs_[j].data();
    left[stage + j] = stage_[j].data();
    other[stage + j] = rhs_[stage].data();
  }
  workers_.run(chunks_.count(), [&](std::int64_t c) {
    dots(left, other, count, chunks_.begin(c), chunks_.end(c), partial_.data() + 12 * c);
  });
  double right[6] = {}, weight[6] = {};
  for (std::int64_t c = 0; c < chunks_.count(); ++c) {
    for (int j = 0; j < stage; ++j) {
      gram_[row][j] = (c == 0 ? 0.0 : gram_[row][j]) + partial_[12 * c + j];
      right[j] += partial_[12 * c + stage + j];
    }
  }
  // One more row of the Cholesky factor (reciprocal diagonal); a direction that adds nothing to
  // the others is left out.
  if (stage > 0) {
    const double size = gram_[row][row];
    for (int j = 0; j <= row; ++j) {
      for (int k = 0; k < j; ++k) gram_[row][j] -= gram_[row][k] * gram_[j][k];
      if (j < row) gram_[row][j] *= gram_[j][j];
    }
    const double pivot = gram_[row][row];
    gram_[row][row] = size > 0.0 && pivot > 1e-10 * size ? 1.0 / std::sqrt(pivot) : 0.0;
  }
  for (int i = 0; i < stage; ++i) {
    for (int k = 0; k < i; ++k) right[i] -= gram_[i][k] * right[k];
    right[i] *= gram_[i][i];
  }
  for (int i = stage; i-- > 0;) {
    for (int k = i + 1; k < stage; ++k) right[i] -= gram_[k][i] * right[k];
    right[i] *= gram_[i][i];
    weight[i] = right[i];
  }
  const double* terms[6];
  for (int j = 0; j < stage; ++j) terms[j] = stage_[j].data();
  chunks_.each(workers_, [&](int begin, int end) {
    std::fill(x + begin, x + end, 0.0);
    combine(x, x, terms, weight, stage, begin, end);
  });
}

}  // namespace eqp
