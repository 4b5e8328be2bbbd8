// Adaptive integration of the flow dφ/dt = −∂F/∂φ of one sample.
#pragma once

#include <cstdint>
#include <vector>

#include "certificate.hpp"
#include "linear.hpp"
#include "rosenbrock.hpp"
#include "xy.hpp"

namespace eqp {

struct Options {
  bool rodas4 = true;
  double tolerance = 1e-4;
  bool certificate = true;
  double certificate_gradient = 0.3;
  double certificate_backoff = 0.6;
  double theta = 0.5;
  double residual = 1e-10;
  double flow_residual = 1e-9;
  double t_max = 1e6;
  std::int64_t max_steps = 20000;
  int max_newton = 30;
};

enum class Pause { kCertified, kSettled, kLimit, kNotFinite };

class Flow {
 public:
  Flow(const Sample& sample, Linear& linear, Workers& workers, const Options& options);

  // Runs on from the phases until one of the reasons to pause is met.
  Pause run(std::vector<double>& phases, Certificate& certificate);

  // After a certificate that was no use: try again only much closer to rest.
  void demand(double factor);

  std::int64_t steps = 0, rejected = 0, direct_steps = 0;
  double time = 0.0;

 private:
  enum class Attempt { kTaken, kNotPositive, kNotFinite };
  Attempt attempt(const std::vector<double>& phases, double& error);
  bool prepare();
  bool factorise();
  bool solve(int stage, double* x);
  void guess(int stage, double* x);

  const Sample& sample_;
  Linear& linear_;
  Workers& workers_;
  const Options& options_;
  const Tableau& tableau_;
  Chunks chunks_;
  State state_, stage_state_;
  std::vector<double> stage_[6], rhs_[6], point_, end_;
  double step_ = 0.0, next_try_, settled_;
  bool direct_ = false;
  std::int64_t step_iterations_ = 0;  // of conjugate gradients, in the step at hand
  std::int64_t budget_;               // beyond, a factorisation is the cheaper way
  double dear_step_ = 0.0;            // step length at which the budget was last exceeded
  int dear_steps_ = 0;                // direct steps since
  double gram_[6][6];
  std::vector<double> partial_;
};

}  // namespace eqp
