#include <algorithm>

#include "multifrontal.hpp"

namespace eqp {

Symbolic::Symbolic(const Graph& graph) : n(graph.n), tree(dissect(graph)) {
  find_rows(graph);
  map_entries(graph);
  make_tasks();
}

// The rows below a block are those of its children, less its own columns, and its neighbours.
void Symbolic::find_rows(const Graph& graph) {
  const auto blocks = static_cast<std::int32_t>(tree.block.size());
  std::vector<std::int32_t> position(static_cast<std::size_t>(n));
  for (int k = 0; k < n; ++k) position[tree.node[k]] = k;
  child_start.assign(static_cast<std::size_t>(blocks) + 1, 0);
  for (const Block& block : tree.block) {
    if (block.parent >= 0) ++child_start[block.parent + 1];
  }
  for (std::int32_t b = 0; b < blocks; ++b) child_start[b + 1] += child_start[b];
  child.resize(static_cast<std::size_t>(child_start[blocks]));
  std::vector<std::int64_t> cursor(child_start.begin(), child_start.end() - 1);
  for (std::int32_t b = 0; b < blocks; ++b) {
    if (tree.block[b].parent >= 0) child[cursor[tree.block[b].parent]++] = b;
  }
  row_start.assign(1, 0);
  panel_start.assign(1, 0);
  std::vector<std::int32_t> mark(static_cast<std::size_t>(n), -1);
  for (std::int32_t b = 0; b < blocks; ++b) {
    const Block& block = tree.block[b];
    const auto first = static_cast<std::int64_t>(row.size());
    const auto add = [&](std::int32_t r) {
      if (r >= block.end && mark[r] != b) {
        mark[r] = b;
        row.push_back(r);
      }
    };
    for (std::int32_t k = block.begin; k < block.end; ++k) {
      const std::int32_t v = tree.node[k];
      for (auto e = graph.row[v]; e < graph.row[v + 1]; ++e) add(position[graph.column[e]]);
    }
    for (auto c = child_start[b]; c < child_start[b + 1]; ++c) {
      for (auto r = row_start[child[c]]; r < row_start[child[c] + 1]; ++r) {
        const std::int32_t candidate = row[r];  // `row` may move while `add` appends to it
        add(candidate);
      }
    }
    std::sort(row.begin() + first, row.end());
    row_start.push_back(static_cast<std::int64_t>(row.size()));
    const double width = columns(b), height = width + below(b);
    panel_start.push_back(panel_start.back() + static_cast<std::int64_t>(width * height));
    for (double k = 0; k < width; ++k) flops += (height - k) * (height - k);
  }
  entries = panel_start.back();
  updates = static_cast<std::int64_t>(row.size());
}

void Symbolic::map_entries(const Graph& graph) {
  const auto blocks = static_cast<std::int32_t>(tree.block.size());
  std::vector<std::int32_t> position(static_cast<std::size_t>(n));
  for (int k = 0; k < n; ++k) position[tree.node[k]] = k;
  std::vector<std::int32_t> local(static_cast<std::size_t>(n), 0);
  into_parent.resize(row.size());
  entry.reserve(static_cast<std::size_t>(graph.bonds));
  entry_start.assign(1, 0);
  for (std::int32_t b = 0; b < blocks; ++b) {
    const Block& block = tree.block[b];
    const int width = columns(b), height = width + below(b);
    for (std::int32_t k = block.begin; k < block.end; ++k) local[k] = k - block.begin;
    for (auto r = row_start[b]; r < row_start[b + 1]; ++r) {
      local[row[r]] = static_cast<std::int32_t>(width + r - row_start[b]);
    }
    for (auto c = child_start[b]; c < child_start[b + 1]; ++c) {
      for (auto r = row_start[child[c]]; r < row_start[child[c] + 1]; ++r) {
        into_parent[r] = local[row[r]];
      }
    }
    for (std::int32_t k = block.begin; k < block.end; ++k) {
      const std::int32_t v = tree.node[k];
      for (auto e = graph.row[v]; e < graph.row[v + 1]; ++e) {
        const std::int32_t r = position[graph.column[e]];
        if (r > k) entry.push_back({local[r] + std::int64_t{k - block.begin} * height, e});
      }
    }
    entry_start.push_back(static_cast<std::int64_t>(entry.size()));
  }
}

// Cuts the tree into subtrees of at most 1/32 of the work; blocks above them form the top.
void Symbolic::make_tasks() {
  const auto blocks = static_cast<std::int32_t>(tree.block.size());
  std::vector<double> work(static_cast<std::size_t>(blocks), 0.0);
  std::vector<std::int32_t> first(static_cast<std::size_t>(blocks));
  for (std::int32_t b = 0; b < blocks; ++b) {
    first[b] = child_start[b] < child_start[b + 1] ? first[child[child_start[b]]] : b;
    const double width = columns(b), height = width + below(b);
    work[b] += width * height * height + 1.0;
    if (tree.block[b].parent >= 0) work[tree.block[b].parent] += work[b];
  }
  double total = 0.0;
  for (std::int32_t b = 0; b < blocks; ++b) {
    if (tree.block[b].parent < 0) total += work[b];
  }
  const double most = std::max(total / 32.0, 1e6);
  for (std::int32_t b = 0; b < blocks; ++b) {
    const std::int32_t parent = tree.block[b].parent;
    if (work[b] > most) {
      top.push_back(b);
    } else if (parent < 0 || work[parent] > most) {
      task_root.push_back(b);
      task_first.push_back(first[b]);
    }
  }
}

}  // namespace eqp
