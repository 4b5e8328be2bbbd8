#include "graph.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace eqp {
namespace {

// Rows in the given numbering; columns ascend.
void fill_rows(Graph& graph, const std::int64_t* edges, const std::vector<std::int32_t>& position) {
  const int n = graph.n;
  graph.row.assign(static_cast<std::size_t>(n) + 1, 0);
  for (std::int64_t e = 0; e < graph.bonds; ++e) {
    ++graph.row[position[edges[2 * e]] + 1];
    ++graph.row[position[edges[2 * e + 1]] + 1];
  }
  for (int i = 0; i < n; ++i) graph.row[i + 1] += graph.row[i];
  std::vector<std::pair<std::int32_t, std::int32_t>> entries(
      static_cast<std::size_t>(2 * graph.bonds));
  std::vector<std::int64_t> cursor(graph.row.begin(), graph.row.end() - 1);
  for (std::int64_t e = 0; e < graph.bonds; ++e) {
    const std::int32_t a = position[edges[2 * e]], b = position[edges[2 * e + 1]];
    entries[cursor[a]++] = {b, static_cast<std::int32_t>(e)};
    entries[cursor[b]++] = {a, static_cast<std::int32_t>(e)};
  }
  graph.column.resize(entries.size());
  graph.bond.resize(entries.size());
  graph.middle.resize(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) {
    std::sort(entries.begin() + graph.row[i], entries.begin() + graph.row[i + 1]);
    graph.middle[i] = graph.row[i + 1];
    for (std::int64_t k = graph.row[i + 1]; k-- > graph.row[i];) {
      graph.column[k] = entries[k].first;
      graph.bond[k] = entries[k].second;
      if (graph.column[k] > i) graph.middle[i] = k;
    }
  }
}

class CuthillMcKee {
 public:
  explicit CuthillMcKee(const Graph& graph)
      : graph_(graph), level_(static_cast<std::size_t>(graph.n), -1) {}

  std::vector<std::int32_t> order() {
    std::vector<std::int32_t> order;
    std::vector<char> placed(static_cast<std::size_t>(graph_.n), 0);
    order.reserve(placed.size());
    std::vector<std::int32_t> fresh;
    for (int seed = 0; seed < graph_.n; ++seed) {
      if (placed[seed]) continue;
      std::size_t head = order.size();
      const std::int32_t start = far_end(far_end(seed));
      placed[start] = 1;
      order.push_back(start);
      for (; head < order.size(); ++head) {
        fresh.clear();
        for (auto k = graph_.row[order[head]]; k < graph_.row[order[head] + 1]; ++k) {
          const std::int32_t v = graph_.column[k];
          if (!placed[v]) {
            placed[v] = 1;
            fresh.push_back(v);
          }
        }
        std::sort(fresh.begin(), fresh.end(), [this](std::int32_t a, std::int32_t b) {
          return std::make_pair(degree(a), a) < std::make_pair(degree(b), b);
        });
        order.insert(order.end(), fresh.begin(), fresh.end());
      }
    }
    std::reverse(order.begin(), order.end());
    return order;
  }

 private:
  std::int64_t degree(std::int32_t v) const { return graph_.row[v + 1] - graph_.row[v]; }

  // A node of least degree in the last level of a breadth-first search.
  std::int32_t far_end(std::int32_t start) {
    reached_.clear();
    reached_.push_back(start);
    level_[start] = 0;
    for (std::size_t head = 0; head < reached_.size(); ++head) {
      const std::int32_t u = reached_[head];
      for (auto k = graph_.row[u]; k < graph_.row[u + 1]; ++k) {
        const std::int32_t v = graph_.column[k];
        if (level_[v] < 0) {
          level_[v] = level_[u] + 1;
          reached_.push_back(v);
        }
      }
    }
    std::int32_t best = reached_.back();
    const std::int32_t last = level_[best];
    for (auto it = reached_.rbegin(); it != reached_.rend() && level_[*it] == last; ++it) {
      if (degree(*it) < degree(best)) best = *it;
    }
    for (std::int32_t v : reached_) level_[v] = -1;
    return best;
  }

  const Graph& graph_;
  std::vector<std::int32_t> level_, reached_;
};

}  // namespace

Graph make_graph(int n, const std::int64_t* edges, std::int64_t bonds) {
  if (bonds > std::numeric_limits<std::int32_t>::max() / 2) {
    throw std::invalid_argument("too many bonds: at most 2^30");
  }
  for (std::int64_t e = 0; e < bonds; ++e) {
    const std::int64_t a = edges[2 * e], b = edges[2 * e + 1];
    if (a < 0 || a >= n || b < 0 || b >= n || a == b) {
      throw std::invalid_argument("a bond must join two different nodes in 0..n-1");
    }
  }
  Graph plain;
  plain.n = n;
  plain.bonds = bonds;
  std::vector<std::int32_t> position(static_cast<std::size_t>(n));
  for (int i = 0; i < n; ++i) position[i] = i;
  fill_rows(plain, edges, position);
  Graph graph;
  graph.n = n;
  graph.bonds = bonds;
  graph.original = CuthillMcKee(plain).order();
  for (int i = 0; i < n; ++i) position[graph.original[i]] = i;
  fill_rows(graph, edges, position);
  return graph;
}

}  // namespace eqp
