#include "flow.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"

namespace eqp {
namespace {

constexpr double kSolveShare = 0.01;  // accuracy of a stage's solution, in step tolerances
constexpr int kIterationLimit = 20000;

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
      last_iterations_(8.0 * tableau_.stages) {
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
  if (!direct_) {
    last_iterations_ = static_cast<double>(std::max<std::int64_t>(step_iterations_, stages));
    last_step_ = step_;
  } else {
    ++direct_steps;
  }
  chunks_.each(workers_, [&](int begin, int end) {
    combine(end_.data(), phases.data(), terms, t.m, stages, begin, end);
  });
  const double* last = stage_[stages - 1].data();
  error = chunks_.max(workers_, [&](int begin, int end) { return largest(last, begin, end); }) /
          options_.tolerance;
  return std::isfinite(error) ? Attempt::kTaken : Attempt::kNotFinite;
}

// Iterations grow as the root of the condition number, 1 + γhρ.
double Flow::predicted_iterations(double step) const {
  if (last_step_ == 0.0) return last_iterations_;
  return last_iterations_ * std::sqrt(std::max(step, 1e-12) / last_step_);
}

// Chooses the way to solve; false where the factorisation meets a pivot that is not positive.
bool Flow::prepare() {
  const double shift = 1.0 / (tableau_.gamma * step_);
  direct_ = linear_.direct() &&
            linear_.factor_seconds() + tableau_.stages * linear_.solve_seconds() <
                predicted_iterations(step_) * linear_.iteration_seconds();
  if (direct_) {
    return linear_.factorise(state_.values.data(), state_.diagonal.data(), 1.0, shift);
  }
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
  const Solution solution = linear_.cg.solve(a, linear_.incomplete, b, x,
                                             kSolveShare * options_.tolerance * shift,
                                             kIterationLimit);
  linear_.iterations += solution.iterations;
  step_iterations_ += solution.iterations;
  return solution.outcome == Outcome::kConverged;
}

// Galerkin projection onto the stages already solved: their images under A are their right sides.
void Flow::guess(int stage, double* x) {
  double gram[6][6], right[6], weight[6] = {};
  const auto inner = [&](const std::vector<double>& u, const std::vector<double>& v) {
    return chunks_.sum(workers_, [&](int begin, int end) {
      return dot(u.data(), v.data(), begin, end);
    });
  };
  for (int i = 0; i < stage; ++i) {
    for (int j = 0; j <= i; ++j) gram[i][j] = inner(stage_[i], rhs_[j]);
    right[i] = inner(stage_[i], rhs_[stage]);
  }
  // Cholesky of the small Gram matrix; directions that add nothing are left out.
  for (int i = 0; i < stage; ++i) {
    const double size = gram[i][i];
    for (int j = 0; j <= i; ++j) {
      for (int k = 0; k < j; ++k) gram[i][j] -= gram[i][k] * gram[j][k];
      if (j < i) {
        gram[i][j] *= gram[j][j];
      } else {
        gram[i][i] = gram[i][i] > 1e-10 * size && size > 0.0 ? 1.0 / std::sqrt(gram[i][i]) : 0.0;
      }
    }
  }
  for (int i = 0; i < stage; ++i) {
    for (int k = 0; k < i; ++k) right[i] -= gram[i][k] * right[k];
    right[i] *= gram[i][i];
  }
  for (int i = stage; i-- > 0;) {
    for (int k = i + 1; k < stage; ++k) right[i] -= gram[k][i] * right[k];
    right[i] *= gram[i][i];
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
