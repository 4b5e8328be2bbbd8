#include "relax.hpp"

#include <algorithm>
#include <cmath>

#include "kernels.hpp"
#include "spectrum.hpp"

namespace eqp {
namespace {

constexpr double kShortestPathStep = 1e-5;
constexpr double kSameState = 1e-6;  // rad, modulo a turn
constexpr double kTurn = 6.283185307179586;

}  // namespace

Relaxer::Relaxer(const Graph& graph, std::shared_ptr<const Symbolic> symbolic, Workers& workers,
                 const Options& options)
    : graph_(graph),
      workers_(workers),
      options_(options),
      linear_(graph, std::move(symbolic), workers) {}

// Chord Newton with a factor, or inexact Newton by conjugate gradients, on to rounding level.
// The phases are left at the smallest residual met.
Relaxer::Polish Relaxer::newton(const Sample& sample, std::vector<double>& phases) {
  State state(sample, workers_);
  std::vector<double> correction(phases.size()), best(phases);
  const double floor = 2e-16 * std::max(stiffness(sample), 1e-300);
  double best_residual = 0.0;
  bool fresh = false, have_factor = false;
  for (int k = 0;; ++k) {
    state.at(phases.data(), true);
    const double residual = state.gradient_max;
    if (!std::isfinite(residual)) break;
    const bool better = k == 0 || residual < best_residual;
    const double ratio = k == 0 ? 0.0 : residual / std::max(best_residual, 1e-300);
    if (better) {
      best = phases;
      best_residual = residual;
    }
    if (residual <= floor || k >= options_.max_newton) break;
    // Near rounding level a step that gains little was the last one worth taking.
    if (k > 0 && ratio > 0.5 && best_residual <= 0.1 * options_.residual) break;
    if (k > 0 && !better && fresh) break;
    if (linear_.direct()) {
      fresh = !have_factor || ratio > 0.1;
      if (fresh) {
        if (!better) {
          phases = best;
          state.at(phases.data(), true);
        }
        if (!linear_.factorise(state.values.data(), state.diagonal.data(), 1.0, 0.0)) {
          phases = best;
          return {false, false, best_residual};
        }
        have_factor = true;
      }
      linear_.back_solve(state.gradient.data(), correction.data());
    } else {
      fresh = true;
      const Matrix h{&graph_, state.values.data(), state.diagonal.data(), 0.0};
      linear_.incomplete.build(h);
      std::fill(correction.begin(), correction.end(), 0.0);
      const Solution solution =
          linear_.cg.solve(h, linear_.incomplete, state.gradient.data(), correction.data(),
                           std::max(1e-4 * residual, 0.2 * floor), 20000);
      linear_.iterations += solution.iterations;
      if (solution.outcome == Outcome::kIndefinite) {
        phases = best;
        return {false, false, best_residual};
      }
    }
    axpy(-1.0, correction.data(), phases.data(), 0, graph_.n);
  }
  phases = best;
  return {best_residual <= options_.residual, true, best_residual};
}

// By Cholesky; without a factor by the sign of a Ritz value.
bool Relaxer::positive_definite(const Sample& sample, const State& state) {
  if (linear_.direct()) {
    return linear_.factorise(state.values.data(), state.diagonal.data(), 1.0, 0.0);
  }
  const Matrix h{&graph_, state.values.data(), state.diagonal.data(), 0.0};
  return rayleigh_descent(linear_, h, workers_, stiffness(sample), 1e-3, 3000) > 0.0;
}

Result Relaxer::relax(const Sample& sample, std::vector<double>& phases) {
  Result result;
  linear_.factorisations = linear_.iterations = 0;
  Certificate certificate(sample, linear_, workers_, options_.theta);
  auto flow = std::make_unique<Flow>(sample, linear_, workers_, options_);
  for (int round = 0;; ++round) {
    const Pause pause = flow->run(phases, certificate);
    std::vector<double> polished(phases);
    Polish polish{false, false, 0.0};
    const bool over = pause == Pause::kNotFinite || pause == Pause::kLimit;
    if (!over) polish = newton(sample, polished);
    if (pause == Pause::kCertified && !certificate.contains(phases, polished)) {
      polish.converged = false;
    }
    // A certified state is in the basin: if Newton strays, the flow brings it closer first.
    if (!over && !polish.converged && round < 4 && pause == Pause::kCertified) {
      flow->demand(0.01);
      continue;
    }
    if (polish.converged) phases.swap(polished);
    result.certified = pause == Pause::kCertified;
    State state(sample, workers_);
    state.at(phases.data(), true);
    result.residual = state.gradient_max;
    if (!std::isfinite(result.residual)) {
      result.status = kNotFinite;
    } else {
      result.positive_definite =
          (result.certified && polish.converged) || positive_definite(sample, state);
      if (pause == Pause::kNotFinite) {
        result.status = kNotFinite;
      } else if (pause == Pause::kLimit) {
        result.status = kStepLimit;
      } else if (!result.positive_definite) {
        result.status = kUnstable;
      } else {
        result.status = result.residual <= options_.residual ? kEquilibrium : kStepLimit;
      }
    }
    break;
  }
  result.steps = flow->steps;
  result.rejected = flow->rejected;
  result.direct_steps = flow->direct_steps;
  result.time = flow->time;
  result.factorisations = linear_.factorisations;
  result.iterations = linear_.iterations;
  return result;
}

Result Relaxer::follow(const Sample& sample, const Sample& previous, std::vector<double>& phases) {
  linear_.factorisations = linear_.iterations = 0;
  {
    Certificate certificate(sample, linear_, workers_, options_.theta);
    State state(sample, workers_);
    state.at(phases.data(), true);
    if (certificate.holds(state)) {
      std::vector<double> polished(phases);
      const Polish polish = newton(sample, polished);
      if (polish.converged && certificate.contains(phases, polished)) {
        phases.swap(polished);
        Result result;
        result.status = kEquilibrium;
        result.residual = polish.residual;
        result.positive_definite = result.certified = true;
        result.factorisations = linear_.factorisations;
        result.iterations = linear_.iterations;
        return result;
      }
    }
  }
  const std::int64_t factorisations = linear_.factorisations, iterations = linear_.iterations;
  std::vector<double> path(phases);
  Result result = relax(sample, phases);
  linear_.factorisations += factorisations;
  linear_.iterations += iterations;
  if (result.status == kEquilibrium) {
    bool same = continue_path(sample, previous, path);
    for (std::size_t i = 0; i < path.size() && same; ++i) {
      same = std::fabs(std::remainder(path[i] - phases[i], kTurn)) <= kSameState;
    }
    result.hop = !same;
  }
  result.factorisations = linear_.factorisations;
  result.iterations = linear_.iterations;
  return result;
}

// Steps along the fields between the two samples: a tangent predictor, then Newton; each step is
// proven to stay on the branch.
bool Relaxer::continue_path(const Sample& sample, const Sample& previous,
                            std::vector<double>& phases) {
  Sample between = sample;
  double done = 0.0, step = 1.0;
  std::vector<double> change(phases.size()), delta(phases.size()), torque(phases.size());
  State state(between, workers_);
  while (done < 1.0) {
    step = std::min(step, 1.0 - done);
    const double target = step == 1.0 - done ? 1.0 : done + step;
    const auto blend = [&](double share) {
      for (std::size_t i = 0; i < phases.size(); ++i) {
        between.field_re[i] = (1.0 - share) * previous.field_re[i] + share * sample.field_re[i];
        between.field_im[i] = (1.0 - share) * previous.field_im[i] + share * sample.field_im[i];
      }
    };
    blend(done);
    state.at(phases.data(), true);
    for (std::size_t i = 0; i < phases.size(); ++i) {
      const double re = (target - done) * (sample.field_re[i] - previous.field_re[i]);
      const double im = (target - done) * (sample.field_im[i] - previous.field_im[i]);
      change[i] = std::hypot(re, im);
      torque[i] = state.cosine[i] * im - state.sine[i] * re;
    }
    bool proven = tangent(state, torque, delta);
    std::vector<double> next(phases), predicted;
    if (proven) {
      axpy(1.0, delta.data(), next.data(), 0, graph_.n);
      blend(target);
      state.at(next.data(), true);
      Certificate certificate(between, linear_, workers_, options_.theta);
      predicted = next;
      proven = certificate.joins(state, delta, change) && newton(between, next).converged &&
               certificate.contains(predicted, next);
    }
    if (proven) {
      phases.swap(next);
      done = target;
      step *= 2.0;
    } else {
      step *= 0.5;
      if (step < kShortestPathStep) return false;
    }
  }
  return true;
}

// δ = H⁻¹·torque, roughly where there is no factor; false where H is not positive definite.
bool Relaxer::tangent(const State& state, const std::vector<double>& torque,
                      std::vector<double>& delta) {
  if (linear_.direct()) {
    if (!linear_.factorise(state.values.data(), state.diagonal.data(), 1.0, 0.0)) return false;
    linear_.back_solve(torque.data(), delta.data());
    return true;
  }
  const Matrix h{&graph_, state.values.data(), state.diagonal.data(), 0.0};
  linear_.incomplete.build(h);
  std::fill(delta.begin(), delta.end(), 0.0);
  const double goal = 1e-6 * largest(torque.data(), 0, graph_.n);
  const Solution solution =
      linear_.cg.solve(h, linear_.incomplete, torque.data(), delta.data(), goal, 20000);
  linear_.iterations += solution.iterations;
  return solution.outcome == Outcome::kConverged;
}

}  // namespace eqp
