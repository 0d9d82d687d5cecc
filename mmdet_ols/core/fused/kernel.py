"""The kernel of the training step of Online Label Smoothing on a GPU, in Triton.

PyTorch's releases for CUDA bring Triton along. `gpu.py` calls the kernel; this file is imported
only there, since Triton is not everywhere.
"""

# No postponed annotations: Triton reads them as they are.
import triton
import triton.language as tl


@triton.jit
def training_step(
    logits,
    label,
    weight,
    divisor,
    soft_labels,
    loss,
    gradient,
    is_known,
    prob_sum,
    correct_count,
    sample_count,
    columns,
    num_classes,
    ignore_index,
    factor,
    alpha,
    HAS_WEIGHT: tl.constexpr,
    HAS_DIVISOR: tl.constexpr,
    LEARNS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """One sample: what it costs, the gradient, and what it teaches.

    Pointers, all contiguous: logits and gradient (N, C) of any float type; label (N,) int64; weight
    (N,) float32; divisor () float32, of the factor; soft_labels (C, C) float32; loss (N,) float32;
    is_known () int8, set to 0 by a label that is no class; the sums of `SoftLabels`, float32.
    """
    row = tl.program_id(0).to(tl.int64)
    own = tl.load(label + row)
    counts = own != ignore_index
    known = (own >= 0) & (own < columns)
    if counts & (known == 0):
        tl.store(is_known, 0)
    own = tl.where(known, own, 0)
    counts = counts & known
    scale = factor
    if HAS_WEIGHT:
        own_weight = tl.load(weight + row)
        counts = counts & (own_weight != 0)
        scale = scale * own_weight
    if HAS_DIVISOR:
        scale = scale / tl.load(divisor)
    teaches = counts & (own < num_classes)
    scores, softs = logits + row * columns, soft_labels + own * columns

    # The normaliser of the softmax, the class of the largest score, and whether all are finite.
    highest = tl.full((), float('-inf'), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    best = tl.full((), float('-inf'), tl.float32)
    predicted = tl.full((), 0, tl.int32)
    odd = tl.full((), 0, tl.int32)
    mass = tl.full((), 0.0, tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < columns
        score = tl.load(scores + column, inside, other=float('-inf')).to(tl.float32)
        is_finite = tl.abs(score) < float('inf')
        odd = odd | tl.max((inside & (is_finite == 0)).to(tl.int32), 0)
        higher = tl.maximum(highest, tl.max(score, 0))
        base = tl.where(higher == float('-inf'), 0.0, higher)
        total = total * tl.exp(highest - base) + tl.sum(tl.exp(score - base), 0)
        highest = higher
        foreground = tl.where(column < num_classes, score, float('-inf'))
        here, place = tl.max(foreground, 0, return_indices=True)
        predicted = tl.where(here > best, start + place, predicted)
        best = tl.maximum(best, here)
        soft = tl.load(softs + column, inside, other=0.0)
        mass += tl.sum((1 - alpha) * soft + tl.where(column == own, alpha, 0.0), 0)
    normaliser = tl.where(highest == float('-inf'), 0.0, highest) + tl.log(total)
    correct = teaches & (odd == 0) & (predicted == own)

    cost = tl.full((), 0.0, tl.float32)
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < columns
        score = tl.load(scores + column, inside, other=0.0).to(tl.float32)
        soft = tl.load(softs + column, inside, other=0.0)
        target = (1 - alpha) * soft + tl.where(column == own, alpha, 0.0)
        log_prob = score - normaliser
        prob = tl.exp(log_prob)
        # A class that is masked out by a logit of -inf costs 0 where it is not wanted, not 0 * inf.
        cost += tl.sum(tl.where(inside & (target != 0), target * log_prob, 0.0), 0)
        slope = tl.where(counts, (mass * prob - target) * scale, 0.0)
        tl.store(gradient + row * columns + column, slope.to(gradient.dtype.element_ty), inside)
        if LEARNS:
            tl.atomic_add(prob_sum + own * columns + column, prob, inside & correct)
    tl.store(loss + row, tl.where(counts, -cost * scale, 0.0))
    if LEARNS:
        tl.atomic_add(correct_count + own, 1.0, correct)
        tl.atomic_add(sample_count + own, 1.0, teaches & (odd == 0))
