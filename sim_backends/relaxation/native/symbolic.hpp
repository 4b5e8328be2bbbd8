// Symbolic factorisation of a graph: elimination order, supernodes, index lists.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "view.hpp"

namespace eqp {

using Index = std::int32_t;
using Lists = std::vector<std::vector<Index>>;

// Elimination order with the rows that each node meets when it is eliminated.
struct Elimination {
  std::vector<Index> order;  // order[k]: node eliminated k-th
  Lists below;               // by node: its neighbours at that time
  double work = 0.0;         // sum of squared degrees
};

// Exact minimum degree; ties are broken by `seed` (0: by node number).
Elimination minimum_degree(const Lists& adjacency, std::uint64_t seed);

// Several tie breaks are tried on small graphs; the cheapest order wins.
Elimination best_elimination(const Lists& adjacency);

// All that depends on the graph alone.
class Symbolic {
 public:
  Symbolic(Index n, const std::vector<std::pair<Index, Index>>& bonds);

  GraphView view() const;  // without the couplings
  // Couplings in the orders that the kernels read.
  void arrange(const double* coupling, std::vector<double>& values, std::vector<double>& entry_j,
               std::vector<double>& stiffness) const;

 private:
  struct Group {
    Index first, cols;
    bool diagonal;
    std::vector<Index> rows;
  };

  std::vector<Group> group_columns(const Lists& below, const std::vector<Index>& parent) const;
  void lay_out_panels(const std::vector<Group>& groups);
  void connect(const std::vector<Group>& groups);
  void place_bonds(const std::vector<std::pair<Index, Index>>& bonds);
  void block_rows(const Lists& adjacency);

  Index n_;
  Index n_bonds_;
  Index max_cols_ = 0;
  Index max_rows_ = 0;
  std::int64_t panel_total_ = 0;
  std::vector<Index> order_;     // internal -> caller
  std::vector<Index> position_;  // caller -> internal
  std::vector<Index> group_of_;  // by internal column
  std::vector<Supernode> supernodes_;
  std::vector<Index> rows_;
  std::vector<Update> updates_;
  std::vector<Index> sent_;
  std::vector<Index> rel_;
  std::vector<Entry> entries_;
  std::vector<RowBlock> blocks_;
  std::vector<Index> neighbours_;
  std::vector<Index> value_bond_;  // bond of each value, -1: padding
  std::vector<std::pair<Index, Index>> bonds_;  // internal
};

}  // namespace eqp
