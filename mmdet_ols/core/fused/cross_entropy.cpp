// The training step of Online Label Smoothing in one visit to each row of scores: the loss, its
// gradient, and what the sample teaches. The same, written to be read, is `mix_targets`,
// `cross_entropy` and `SoftLabels.accumulate`; the tests hold the two against each other.
//
// PyTorch goes some fifteen times over memory for that, three times for exponentials. Here a row
// stays in the cache, as float32, from its first pass to its last: the largest score; the
// exponentials and the loss; the gradient. Rows are taken class by class. So all rows of a class
// find their soft label in the cache, they are summed before they meet the sums of the whole period
// (added one by one to a sum of millions they would be rounded away), and no two threads write to
// one row: the result does not depend on the number of threads.
//
// Vectors are those of GCC and Clang (`vector_size`), which become what the machine has. No header
// of PyTorch is used: compiling takes a second, and the library serves all its versions.

#include <algorithm>
#include <atomic>
#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <system_error>
#include <thread>
#include <type_traits>
#include <vector>

namespace {

constexpr int LANES = 16;
using Floats = float __attribute__((vector_size(4 * LANES)));
using Ints = int32_t __attribute__((vector_size(4 * LANES)));
using Words = uint32_t __attribute__((vector_size(4 * LANES)));
using Halves = uint16_t __attribute__((vector_size(2 * LANES)));
using Bfloat16 = uint16_t;  // the upper half of a float
const Ints LANE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

constexpr int64_t padded(int64_t columns) { return (columns + LANES - 1) / LANES * LANES; }

// Calls `body(start, length)` for each vector of a row. Where the length is LANES the compiler
// knows it, and copies with one instruction.
template <typename Body>
inline void for_each_vector(int64_t columns, Body body) {
  int64_t start = 0;
  for (; start + LANES <= columns; start += LANES)
    body(start, std::integral_constant<int64_t, LANES>());
  if (start < columns) body(start, columns - start);
}

// The first `count` of the values, and something else behind them.
inline Floats first(Floats values, int64_t count, float otherwise) {
  return LANE < int32_t(count) ? values : otherwise - Floats{};
}

inline Floats load(const float* from, int64_t count = LANES) {
  Floats result{};
  std::memcpy(&result, from, count * sizeof(float));
  return result;
}

inline Floats load(const Bfloat16* from, int64_t count) {
  Halves halves{};
  std::memcpy(&halves, from, count * sizeof(Bfloat16));
  Words words = __builtin_convertvector(halves, Words) << 16;
  Floats result;
  std::memcpy(&result, &words, sizeof result);
  return result;
}

inline void store(float* to, Floats values, int64_t count = LANES) {
  std::memcpy(to, &values, count * sizeof(float));
}

// Rounded to the nearest, and in the middle to the even one.
inline void store(Bfloat16* to, Floats values, int64_t count) {
  Words words;
  std::memcpy(&words, &values, sizeof words);
  Words rounded = (words + 0x7fff + ((words >> 16) & 1)) >> 16;
  Halves halves = __builtin_convertvector(rounded, Halves);
  std::memcpy(to, &halves, count * sizeof(Bfloat16));
}

// Halves meet, so that four steps wait for each other instead of fifteen.
inline float sum(Floats values) {
  for (int half = LANES / 2; half; half /= 2)
    for (int lane = 0; lane < half; ++lane) values[lane] += values[lane + half];
  return values[0];
}

inline float largest(Floats values) {
  for (int half = LANES / 2; half; half /= 2)
    for (int lane = 0; lane < half; ++lane)
      values[lane] = std::max(values[lane], values[lane + half]);
  return values[0];
}

// exp(x) for x <= 0 to within 2 units in the last place; 0 from the smallest normal number on.
// x = n ln 2 + r with |r| <= ln 2 / 2, and exp(r) by its series: the first term left out is
// r^8 / 8! < 6e-9.
inline Floats exponential(Floats x) {
  const float TO_INTEGER = 12582912;  // 1.5 * 2^23: a sum with it has n in its lowest bits
  Floats moved = x * 1.44269504f + TO_INTEGER, n = moved - TO_INTEGER;
  Floats r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  Floats series = 1.f / 5040 - Floats{};
  for (float coefficient : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 1.f / 2, 1.f, 1.f})
    series = series * r + coefficient;
  Ints whole, result;
  std::memcpy(&whole, &moved, sizeof whole);
  std::memcpy(&result, &series, sizeof result);
  result += whole << 23;  // times 2^n: into the exponent
  std::memcpy(&series, &result, sizeof series);
  return x > -87.3f ? series : Floats{};
}

template <typename Score>
struct Step {
  int64_t rows, columns, classes;  // the foreground classes are the first columns
  const Score* scores;             // (rows, columns), as `gradient`
  const int64_t* labels;
  const float* weights;       // of the rows, or null
  float factor, alpha;        // of the loss; share of the hard label
  const float* soft_labels;   // (columns, columns), as `prob_sum`
  float* loss;                // the weighted sum of the `losses` of the rows
  double* losses;
  Score* gradient;
  float *prob_sum, *correct_count, *sample_count;  // or null

  // False, before anything is written, if a label is none.
  bool run(int threads) const {
    // The rows of each class as a chain.
    std::vector<int64_t> first(columns, -1), next(rows), present;
    for (int64_t row = rows - 1; row >= 0; --row) {
      const int64_t label = labels[row];
      if (label < 0 || label >= columns) return false;
      if (first[label] < 0) present.push_back(label);
      next[row] = first[label];
      first[label] = row;
    }
    std::atomic<size_t> taken{0};
    auto work = [&] {
      std::vector<Floats> scratch(3 * padded(columns) / LANES);
      for (size_t i; (i = taken++) < present.size();)
        learn_class(present[i], first[present[i]], next.data(),
                    reinterpret_cast<float*>(scratch.data()));
    };
    std::vector<std::thread> others;
    try {
      for (int i = 1; i < threads; ++i) others.emplace_back(work);
    } catch (const std::system_error&) {  // no more threads to be had
    }
    work();
    for (auto& thread : others) thread.join();
    *loss = float(std::accumulate(losses, losses + rows, 0.0));
    return true;
  }

  // All rows of one class: `row`, `next[row]` and so on until -1.
  void learn_class(int64_t label, int64_t row, const int64_t* next, float* scratch) const {
    const int64_t width = padded(columns);
    float *soft = scratch, *x = soft + width, *taught = x + width;
    Floats totals{};
    for_each_vector(columns, [&](int64_t j, auto n) {
      Floats here = load(soft_labels + label * columns + j, n);
      totals += here;
      store(soft + j, here);
    });
    const float soft_total = sum(totals), target_total = alpha + (1 - alpha) * soft_total;
    int64_t seen = 0, correct = 0;

    for (; row >= 0; row = next[row]) {
      const float weight = weights ? weights[row] : 1, scale = weight * factor;
      Score* slope = gradient + row * columns;
      if (weight == 0) {
        std::memset(slope, 0, columns * sizeof(Score));
        losses[row] = 0;
        continue;
      }

      const float lead = copy_row(row, x);
      const float top = columns > classes ? std::max(lead, x[classes]) : lead;
      const float own = x[label];
      const bool teaches = label < classes;
      const bool adds = prob_sum && teaches && own == lead && is_first(x, label, lead);

      Floats norms{}, dots{};
      for_each_vector(columns, [&](int64_t j, auto n) {
        Floats shifted = first(load(x + j) - top, n, -100);  // exp(-100) is 0
        Floats e = exponential(shifted);
        dots += load(soft + j) * shifted;
        norms += e;
        store(x + j, e);
      });
      const float norm = sum(norms), log_norm = std::log(norm), dot = sum(dots);
      if (!std::isfinite(top + dot)) {  // some score is not: even 0 * inf shows
        losses[row] = scale * learn_plainly(row, label, scale, slope);
        continue;
      }
      seen += teaches;
      losses[row] = double(scale) * (alpha * (log_norm - (own - top)) +
                                     (1 - alpha) * (log_norm * soft_total - dot));

      const float to_slope = scale * target_total / norm, of_soft = scale * (1 - alpha);
      for_each_vector(columns, [&](int64_t j, auto n) {
        store(slope + j, load(x + j) * to_slope - load(soft + j) * of_soft, n);
      });
      const float own_target = soft[label] * of_soft + scale * alpha;
      store(slope + label, x[label] * to_slope - own_target - Floats{}, 1);
      if (!adds) continue;
      for (int64_t j = 0; j < width; j += LANES) {
        Floats before = correct ? load(taught + j) : Floats{};
        store(taught + j, before + load(x + j) * (1 / norm));
      }
      ++correct;
    }

    if (!prob_sum) return;  // nothing is to be learned
    if (correct) {
      float* sums = prob_sum + label * columns;
      for_each_vector(columns, [&](int64_t j, auto n) {
        store(sums + j, load(sums + j, n) + load(taught + j), n);
      });
    }
    correct_count[label] += correct;
    sample_count[label] += seen;
  }

  // Copies a row to `x`. Returns its largest foreground score; a NaN is passed over.
  float copy_row(int64_t row, float* x) const {
    const Score* from = scores + row * columns;
    Floats tops = -FLT_MAX - Floats{};
    for_each_vector(classes, [&](int64_t j, auto n) {
      Floats here = load(from + j, n);
      Floats known = first(here, n, -FLT_MAX);
      tops = known > tops ? known : tops;
      store(x + j, here);
    });
    if (columns > classes) x[classes] = load(from + classes, 1)[0];
    return largest(tops);
  }

  // Whether no score before the label's is as large: of equal scores the first one leads.
  static bool is_first(const float* x, int64_t label, float lead) {
    Ints equal{};
    for_each_vector(label, [&](int64_t j, auto n) {
      equal |= first(load(x + j), n, NAN) == lead;
    });
    for (int lane = 0; lane < LANES; ++lane)
      if (equal[lane]) return false;
    return true;
  }

  // A row with a score that is not finite, which teaches nothing. A class that is masked out by
  // -inf costs nothing where its target is 0. Returns the loss.
  float learn_plainly(int64_t row, int64_t label, float scale, Score* slope) const {
    const float* soft = soft_labels + label * columns;
    auto score = [&](int64_t j) { return load(scores + row * columns + j, 1)[0]; };
    auto target = [&](int64_t j) { return (1 - alpha) * soft[j] + (j == label ? alpha : 0); };
    float top = score(0), norm = 0, total = 0, loss = 0;
    for (int64_t j = 0; j < columns; ++j) top = score(j) > top ? score(j) : top;
    for (int64_t j = 0; j < columns; ++j) {
      norm += std::exp(score(j) - top);
      total += target(j);
    }
    for (int64_t j = 0; j < columns; ++j) {
      const float log_prob = score(j) - top - std::log(norm);
      if (target(j) != 0) loss -= target(j) * log_prob;
      store(slope + j, scale * (std::exp(log_prob) * total - target(j)) - Floats{}, 1);
    }
    return loss;
  }
};

}  // namespace

// Returns false, and changes nothing, if a label is outside [0, columns). See `Step`.
#define OLS_CROSS_ENTROPY(NAME, SCORE)                                                           \
  extern "C" bool NAME(int64_t rows, int64_t columns, int64_t classes, const SCORE* scores,      \
                       const int64_t* labels, const float* weights, double factor, double alpha, \
                       const float* soft_labels, float* loss, SCORE* gradient, float* prob_sum,  \
                       float* correct_count, float* sample_count, int threads) {                 \
    std::vector<double> losses(rows);                                                            \
    return Step<SCORE>{rows, columns, classes, scores, labels, weights, float(factor),           \
                       float(alpha), soft_labels, loss, losses.data(), gradient, prob_sum,       \
                       correct_count, sample_count}                                              \
        .run(threads);                                                                           \
  }
OLS_CROSS_ENTROPY(ols_cross_entropy_float32, float)
OLS_CROSS_ENTROPY(ols_cross_entropy_bfloat16, Bfloat16)
