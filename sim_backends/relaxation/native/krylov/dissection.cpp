#include "dissection.hpp"

#include <algorithm>
#include <numeric>

namespace eqp {
namespace {

constexpr int kLeaf = 24;        // parts not larger are eliminated as one dense block
constexpr int kDeepest = 400;    // stops the recursion on graphs without small separators

class Dissector {
 public:
  explicit Dissector(const Graph& graph)
      : graph_(graph),
        part_(static_cast<std::size_t>(graph.n), 0),
        level_(static_cast<std::size_t>(graph.n), -1) {
    result_.node.resize(static_cast<std::size_t>(graph.n));
    std::iota(result_.node.begin(), result_.node.end(), 0);
  }

  Dissection run() {
    if (graph_.n > 0) divide(0, graph_.n, 0);
    return std::move(result_);
  }

 private:
  // Orders positions begin..end; returns the blocks that still lack a parent.
  std::vector<std::int32_t> divide(int begin, int end, int depth) {
    int left = begin, right = begin;
    const bool divided = end - begin > kLeaf && depth < kDeepest && split(begin, end, left, right);
    std::vector<std::int32_t> open;
    if (divided) {
      open = divide(begin, left, depth + 1);
      const auto more = divide(left, right, depth + 1);
      open.insert(open.end(), more.begin(), more.end());
      if (right == end) return open;  // two parts without a bond between them
    }
    const auto self = static_cast<std::int32_t>(result_.block.size());
    for (std::int32_t child : open) result_.block[child].parent = self;
    result_.block.push_back({divided ? right : begin, end, -1});
    return {self};
  }

  // Reorders begin..end as left part | right part | separator; false where nothing is gained.
  bool split(int begin, int end, int& left, int& right) {
    auto* node = result_.node.data();
    ++stamp_;
    for (int k = begin; k < end; ++k) part_[node[k]] = stamp_;
    if (search(node[begin], begin, end) < end - begin) return group(begin, end, left, right);
    std::size_t depth = offset_.size();
    for (int attempt = 0; attempt < 3; ++attempt) {
      search(reached_.back(), begin, end);
      if (offset_.size() <= depth) break;
      depth = offset_.size();
    }
    const int total = end - begin;
    const int levels = static_cast<int>(offset_.size()) - 1;
    int best = -1;
    double best_score = 0.0;
    for (int k = 1; k + 1 < levels; ++k) {
      const int size = offset_[k + 1] - offset_[k];
      const int smaller = std::min(offset_[k], total - offset_[k + 1]);
      const double score = static_cast<double>(size) / smaller;
      if (best < 0 || score < best_score) {
        best = k;
        best_score = score;
      }
    }
    if (best < 0) return false;
    // A separator node without a neighbour on the far side belongs to the near side.
    std::vector<std::int32_t> near(reached_.begin(), reached_.begin() + offset_[best]);
    std::vector<std::int32_t> wall;
    for (int k = offset_[best]; k < offset_[best + 1]; ++k) {
      const std::int32_t v = reached_[k];
      bool touches = false;
      for (auto e = graph_.row[v]; e < graph_.row[v + 1]; ++e) {
        const std::int32_t u = graph_.column[e];
        touches = touches || (part_[u] == stamp_ && level_[u] == best + 1);
      }
      (touches ? wall : near).push_back(v);
    }
    auto out = std::copy(near.begin(), near.end(), node + begin);
    left = static_cast<int>(out - node);
    out = std::copy(reached_.begin() + offset_[best + 1], reached_.end(), out);
    right = static_cast<int>(out - node);
    std::copy(wall.begin(), wall.end(), out);
    return true;
  }

  // Breadth-first levels within the current part; returns the number of nodes reached.
  int search(std::int32_t start, int begin, int end) {
    for (int k = begin; k < end; ++k) level_[result_.node[k]] = -1;
    return extend(start);
  }

  int extend(std::int32_t start) {
    reached_.clear();
    offset_.clear();
    reached_.push_back(start);
    level_[start] = 0;
    std::size_t head = 0;
    while (head < reached_.size()) {
      offset_.push_back(static_cast<int>(head));
      const std::size_t stop = reached_.size();
      for (; head < stop; ++head) {
        const std::int32_t u = reached_[head];
        for (auto k = graph_.row[u]; k < graph_.row[u + 1]; ++k) {
          const std::int32_t v = graph_.column[k];
          if (part_[v] == stamp_ && level_[v] < 0) {
            level_[v] = level_[u] + 1;
            reached_.push_back(v);
          }
        }
      }
    }
    offset_.push_back(static_cast<int>(head));
    return static_cast<int>(reached_.size());
  }

  // Shares the components of a disconnected part among two halves.
  bool group(int begin, int end, int& left, int& right) {
    const std::vector<std::int32_t> nodes(result_.node.begin() + begin, result_.node.begin() + end);
    std::vector<std::int32_t> first, second;
    search(nodes[0], begin, end);
    first = reached_;
    for (std::int32_t v : nodes) {
      if (level_[v] >= 0) continue;
      extend(v);
      auto& smaller = first.size() <= second.size() ? first : second;
      smaller.insert(smaller.end(), reached_.begin(), reached_.end());
    }
    auto out = std::copy(first.begin(), first.end(), result_.node.begin() + begin);
    left = static_cast<int>(out - result_.node.begin());
    std::copy(second.begin(), second.end(), out);
    right = end;
    return true;
  }

  const Graph& graph_;
  Dissection result_;
  std::vector<std::int32_t> part_, level_, reached_;
  std::vector<int> offset_;
  std::int32_t stamp_ = 0;
};

}  // namespace

Dissection dissect(const Graph& graph) { return Dissector(graph).run(); }

}  // namespace eqp
