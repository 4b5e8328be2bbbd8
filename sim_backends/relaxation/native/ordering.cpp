// Minimum-degree ordering on the explicit elimination graph: simple, and fast enough for some
// ten thousand nodes, because the fill that it writes down is what the factor needs anyway.
#include <algorithm>
#include <iterator>
#include <set>

#include "symbolic.hpp"

namespace eqp {

namespace {

std::uint64_t scramble(std::uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdULL;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ULL;
  return x ^ (x >> 33);
}

}  // namespace

Elimination minimum_degree(const Lists& adjacency, std::uint64_t seed) {
  const Index n = static_cast<Index>(adjacency.size());
  Lists graph = adjacency;
  for (auto& list : graph) std::sort(list.begin(), list.end());
  std::vector<std::uint64_t> tie(n);
  for (Index i = 0; i < n; ++i)
    tie[i] = seed == 0 ? static_cast<std::uint64_t>(i) : scramble(seed * 0x9e3779b9ULL + i);

  using Key = std::pair<std::pair<std::size_t, std::uint64_t>, Index>;
  std::set<Key> queue;
  auto key = [&](Index i) { return Key{{graph[i].size(), tie[i]}, i}; };
  for (Index i = 0; i < n; ++i) queue.insert(key(i));

  Elimination result;
  result.below.resize(n);
  result.order.reserve(n);
  std::vector<Index> merged, without;
  while (!queue.empty()) {
    const Index v = queue.begin()->second;
    const std::size_t left = queue.size();
    if (graph[v].size() + 1 == left) {
      // What is left is complete: any order is as good.
      std::vector<Index> rest;
      for (const Key& k : queue) rest.push_back(k.second);
      for (std::size_t a = 0; a < rest.size(); ++a) {
        result.order.push_back(rest[a]);
        result.below[rest[a]].assign(rest.begin() + a + 1, rest.end());
        const double degree = static_cast<double>(rest.size() - a - 1);
        result.work += degree * degree;
      }
      break;
    }
    queue.erase(queue.begin());
    result.order.push_back(v);
    const double degree = static_cast<double>(graph[v].size());
    result.work += degree * degree;
    for (Index u : graph[v]) {
      queue.erase(key(u));
      without.clear();
      for (Index w : graph[u])
        if (w != v) without.push_back(w);
      merged.clear();
      std::set_union(without.begin(), without.end(), graph[v].begin(), graph[v].end(),
                     std::back_inserter(merged));
      merged.erase(std::lower_bound(merged.begin(), merged.end(), u));
      graph[u].swap(merged);
      queue.insert(key(u));
    }
    result.below[v].swap(graph[v]);
    graph[v].clear();
  }
  return result;
}

Elimination best_elimination(const Lists& adjacency) {
  Elimination best = minimum_degree(adjacency, 0);
  const double size = static_cast<double>(adjacency.size());
  const int tries = best.work > 5e7 ? 0 : (size <= 1000 ? 12 : (size <= 4000 ? 3 : 0));
  for (int seed = 1; seed <= tries; ++seed) {
    Elimination other = minimum_degree(adjacency, static_cast<std::uint64_t>(seed));
    if (other.work < best.work) best = std::move(other);
  }
  return best;
}

}  // namespace eqp
