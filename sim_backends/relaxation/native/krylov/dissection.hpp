// Nested dissection: a fill-reducing order and its tree of separators.
#pragma once

#include <cstdint>
#include <vector>

#include "graph.hpp"

namespace eqp {

// One block of columns that are eliminated together: a separator or an undivided rest.
struct Block {
  std::int32_t begin = 0, end = 0;  // positions in `Dissection::node`
  std::int32_t parent = -1;         // block, always later; -1 at a root
};

struct Dissection {
  std::vector<std::int32_t> node;  // (n) graph node at each position of the order
  std::vector<Block> block;        // children before parents, contiguous and complete
};

// Automatic nested dissection by breadth-first level sets.
// Source: George & Liu, SIAM J. Numer. Anal. 15, 1053 (1978).
Dissection dissect(const Graph& graph);

}  // namespace eqp
