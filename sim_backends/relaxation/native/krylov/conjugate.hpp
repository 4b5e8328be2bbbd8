// Preconditioned conjugate gradients and MINRES for A = H + shift·I.
#pragma once

#include <functional>
#include <vector>

#include "graph.hpp"
#include "workers.hpp"

namespace eqp {

// A matrix with the pattern of the graph; arrays are borrowed.
struct Matrix {
  const Graph* graph;
  const double* values;    // per CSR entry
  const double* diagonal;  // (n)
  double shift;
};

// y = A x over a row range.
void multiply(const Matrix& a, const double* x, double* y, int begin, int end);

// Incomplete Cholesky without fill, (D + L)·D⁻¹·(D + Lᵀ), block-diagonal over fixed row chunks.
//
// L is the strict lower part of A itself; only D is computed. On graphs without triangles this
// is IC(0). Pivots are held above a tenth of A's diagonal, so that the product stays positive
// definite where A is not. Source: Meijerink & van der Vorst, Math. Comp. 31, 148 (1977); Pommerell
// (1992) for the form that keeps L.
class Incomplete {
 public:
  explicit Incomplete(const Graph& graph, Workers& workers);
  void build(const Matrix& a);
  void apply(const double* r, double* z, std::int64_t chunk) const;  // z = M⁻¹ r on one chunk

  // The vector part of a conjugate-gradient iteration on one chunk, in one sweep each way:
  // x += αp, r −= αq, z = M⁻¹ r; returns (r, z), and max|r| in `most`.
  double advance(double alpha, const double* p, const double* q, double* x, double* r, double* z,
                 std::int64_t chunk, double& most) const;
  const Chunks& chunks() const { return chunks_; }

 private:
  const Graph& graph_;
  Workers& workers_;
  Chunks chunks_;
  std::vector<double> inverse_;           // 1/D
  std::vector<float> lower_, upper_;      // values inside the chunk; a preconditioner may be rough
  std::vector<std::int32_t> lower_column_, upper_column_;
  std::vector<std::int64_t> lower_row_, upper_row_, lower_from_, upper_from_;
};

using Precondition = std::function<void(const double* r, double* z)>;

enum class Outcome { kConverged, kIndefinite, kStalled };

struct Solution {
  Outcome outcome;
  int iterations;
};

class Conjugate {
 public:
  Conjugate(const Graph& graph, Workers& workers);

  // Solves A x = b to max|b − Ax| ≤ tolerance, from the x given.
  Solution solve(const Matrix& a, const Incomplete& m, const double* b, double* x,
                 double tolerance, int limit);

  // MINRES for symmetric A of any inertia with a positive definite preconditioner, to
  // ‖b − Ax‖ ≤ relative·‖b‖ in the preconditioned norm, from x = 0.
  // Source: Paige & Saunders, SIAM J. Numer. Anal. 12, 617 (1975).
  Solution minres(const Matrix& a, const Precondition& m, const double* b, double* x,
                  double relative, int limit);

 private:
  const Graph& graph_;
  Workers& workers_;
  Chunks chunks_;
  std::vector<double> r_, z_, p_, q_;
  std::vector<double> partial_rz_, partial_max_;
};

}  // namespace eqp
