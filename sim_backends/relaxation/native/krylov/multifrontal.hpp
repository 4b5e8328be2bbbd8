// Multifrontal Cholesky factorisation over a nested-dissection tree.
//
// Source: Duff & Reid, ACM Trans. Math. Softw. 9, 302 (1983); Liu, SIAM Review 34, 82 (1992).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "dissection.hpp"
#include "graph.hpp"
#include "workers.hpp"

namespace eqp {

// The symbolic half: made once a graph, shared by all factors.
struct Symbolic {
  explicit Symbolic(const Graph& graph);

  int n = 0;
  double flops = 0.0;        // multiplications and additions of one factorisation
  std::int64_t entries = 0;  // doubles held by one factor
  std::int64_t updates = 0;  // Σ rows below the blocks
  Dissection tree;
  std::vector<std::int64_t> row_start;    // per block, into `row`
  std::vector<std::int32_t> row;          // order positions below each block, ascending
  std::vector<std::int32_t> into_parent;  // position of each row in the parent's front
  std::vector<std::int64_t> panel_start;  // per block, into the factor's values
  std::vector<std::int64_t> child_start;  // per block, into `child`
  std::vector<std::int32_t> child;
  std::vector<std::int64_t> entry_start;  // per block, into `entry`
  struct Entry {
    std::int64_t place;   // in the block's panel
    std::int64_t source;  // CSR entry of the matrix
  };
  std::vector<Entry> entry;
  std::vector<std::int32_t> task_root;  // roots of subtrees that threads work on alone
  std::vector<std::int32_t> task_first;  // first block of each such subtree
  std::vector<std::int32_t> top;         // the other blocks, children first

  int columns(std::int32_t b) const { return tree.block[b].end - tree.block[b].begin; }
  int below(std::int32_t b) const { return static_cast<int>(row_start[b + 1] - row_start[b]); }

 private:
  void find_rows(const Graph& graph);
  void map_entries(const Graph& graph);
  void make_tasks();
};

class Cholesky {
 public:
  Cholesky(std::shared_ptr<const Symbolic> symbolic, Workers& workers);

  // Factorises the matrix with off-diagonal CSR values and diagonal scale·diagonal + shift.
  // Returns false where a pivot is not positive: the matrix is not positive definite.
  bool factorise(const double* values, const double* diagonal, double scale, double shift);

  // x = A⁻¹ b in graph order; x and b may be the same.
  void solve(const double* b, double* x);

 private:
  bool eliminate(std::int32_t block, const double* values, const double* diagonal, double scale,
                 double shift, Workers* workers);
  void forward(std::int32_t block);
  void backward(std::int32_t block);

  std::shared_ptr<const Symbolic> symbolic_;
  Workers& workers_;
  std::unique_ptr<double[]> panels_;
  std::vector<std::unique_ptr<double[]>> update_;
  std::vector<double> ordered_, carried_;
};

}  // namespace eqp
