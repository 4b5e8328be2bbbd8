// Relaxation of single samples: flow, certificate, polish, continuation.
#pragma once

#include <memory>

#include "flow.hpp"

namespace eqp {

enum Status : unsigned char {  // as in interface.py
  kEquilibrium = 0,
  kStepLimit = 2,
  kUnstable = 3,
  kNotFinite = 4,
};

struct Result {
  Status status = kStepLimit;
  double residual = 0.0;
  bool positive_definite = false;
  bool certified = false;
  bool hop = false;
  std::int64_t steps = 0, rejected = 0, factorisations = 0;
  std::int64_t iterations = 0, direct_steps = 0;
  double time = 0.0;
};

class Relaxer {
 public:
  Relaxer(const Graph& graph, std::shared_ptr<const Symbolic> symbolic, Workers& workers,
          const Options& options);

  Result relax(const Sample& sample, std::vector<double>& phases);

  // From an equilibrium of `previous`, whose fields alone differ from those of `sample`.
  Result follow(const Sample& sample, const Sample& previous, std::vector<double>& phases);

 private:
  struct Polish {
    bool converged, positive;
    double residual;
  };
  Polish newton(const Sample& sample, std::vector<double>& phases);
  bool continue_path(const Sample& sample, const Sample& previous, std::vector<double>& phases);
  bool tangent(const State& state, const std::vector<double>& torque, std::vector<double>& delta);
  bool positive_definite(const Sample& sample, const State& state);

  const Graph& graph_;
  Workers& workers_;
  const Options& options_;
  Linear linear_;
};

}  // namespace eqp
