// The graph of free nodes in a cache-friendly order.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace eqp {

// Compressed rows, both directions of every bond; columns ascend within a row.
struct Graph {
  int n = 0;
  std::int64_t bonds = 0;
  std::vector<std::int64_t> row;       // (n + 1)
  std::vector<std::int64_t> middle;    // (n) first entry of a row right of the diagonal
  std::vector<std::int32_t> column;    // (2·bonds)
  std::vector<std::int32_t> bond;      // (2·bonds) the user's bond number of an entry
  std::vector<std::int32_t> original;  // (n) the user's number of a node
};

// Reverse Cuthill-McKee order: neighbours lie close together in memory.
// Source: Cuthill & McKee (1969); George & Liu, Computer Solution of Large Sparse Positive
// Definite Systems (1981), ch. 4.
Graph make_graph(int n, const std::int64_t* edges, std::int64_t bonds);

}  // namespace eqp
