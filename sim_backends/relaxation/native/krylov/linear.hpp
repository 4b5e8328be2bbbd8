// The two ways to solve with H + shift·I, and what each is expected to cost.
#pragma once

#include <cstdint>
#include <memory>

#include "conjugate.hpp"
#include "multifrontal.hpp"

namespace eqp {

// Expected seconds on one thread of a current machine. Only their ratio matters, and they are
// constants, not measurements of the run, so that a run always takes the same decisions.
namespace cost {
constexpr double kFlop = 1.2e-10;       // of a factorisation
constexpr double kEntry = 1.5e-9;       // of the factor, per solve (forward and backward)
constexpr double kAssembly = 3e-7;      // per node and factorisation
constexpr double kNodeIteration = 1.2e-8;  // of conjugate gradients
constexpr double kBondIteration = 6e-9;
}  // namespace cost

class Linear {
 public:
  // `symbolic` may be null: the factor would not fit into memory.
  Linear(const Graph& graph, std::shared_ptr<const Symbolic> symbolic, Workers& workers)
      : cg(graph, workers),
        incomplete(graph, workers),
        graph_(graph),
        symbolic_(std::move(symbolic)),
        workers_(workers) {}

  bool direct() const { return symbolic_ != nullptr; }
  double factor_seconds() const {
    return cost::kFlop * symbolic_->flops + cost::kAssembly * graph_.n;
  }
  double solve_seconds() const { return cost::kEntry * static_cast<double>(symbolic_->entries); }
  double iteration_seconds() const {
    return cost::kNodeIteration * graph_.n +
           cost::kBondIteration * static_cast<double>(graph_.bonds);
  }

  // Cholesky of the matrix scale·(values, diagonal) + shift; false if not positive definite.
  bool factorise(const double* values, const double* diagonal, double scale, double shift) {
    if (!cholesky_) cholesky_ = std::make_unique<Cholesky>(symbolic_, workers_);
    ++factorisations;
    return cholesky_->factorise(values, diagonal, scale, shift);
  }
  void back_solve(const double* b, double* x) { cholesky_->solve(b, x); }

  Conjugate cg;
  Incomplete incomplete;
  std::int64_t factorisations = 0;
  std::int64_t iterations = 0;  // of conjugate gradients

 private:
  const Graph& graph_;
  std::shared_ptr<const Symbolic> symbolic_;
  Workers& workers_;
  std::unique_ptr<Cholesky> cholesky_;
};

}  // namespace eqp
