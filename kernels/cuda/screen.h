// What follows the products in every screen: a row's candidates are the codes whose score is within the row's margin of its smallest score.
// The smallest score is not known until the last codeword has passed, so codes within the margin of the smallest so far are listed, and
// those that a later score puts outside are dropped at the end. A list that overflows means all codes.
#pragma once

#include "encode.h"

template <int Rows>
struct CandidateLists
{
    u32 smallest[Rows]; // ordered()
    int counts[Rows];
    float margins[Rows];
    float scales[Rows];
    float scores[Rows][kCandidates];
    u16 codes[Rows][kCandidates];
};

template <int Rows>
DEVICE void begin(CandidateLists<Rows>& lists, const ScreenArguments& a, int first_row)
{
    for (int i = thread_index(); i < Rows; i += block_size())
    {
        bool inside = first_row + i < a.count;
        lists.smallest[i] = 0xffffffffu;
        lists.counts[i] = 0;
        lists.margins[i] = inside ? a.margins[first_row + i] : 0;
        lists.scales[i] = inside ? a.scales[first_row + i] * a.codeword_scale : 0;
    }
    sync_block();
}

/// β[k] + scale · product + Σ_j T_j[k_j, k].
DEVICE float score(const ScreenArguments& a, const u16* chosen, float product, float scale, int code)
{
    float s = multiply_add(scale, product, a.biases[code]);
    for (int j = 0; j < a.table_count; j++)
        s += a.tables[j][(s64)chosen[j] * a.padded_codes + code];
    return s;
}

/// Lists a code whose score is within the margin of the smallest so far.
template <int Rows>
DEVICE void offer(CandidateLists<Rows>& lists, int i, int code, float score, float limit)
{
    if (score > limit)
        return;
    int place = atomic_add(&lists.counts[i], 1);
    if (place < kCandidates)
    {
        lists.scores[i][place] = score;
        lists.codes[i][place] = (u16)code;
    }
}

/// Writes the codes that are proven and the rows that stay open.
template <int Rows>
DEVICE void end(CandidateLists<Rows>& lists, const ScreenArguments& a, int first_row)
{
    sync_block();
    for (int i = thread_index(); i < Rows && first_row + i < a.count; i += block_size())
    {
        int row = first_row + i, listed = lists.counts[i], kept = 0;
        float limit = from_ordered(lists.smallest[i]) + lists.margins[i];
        bool all = listed > kCandidates || !(lists.margins[i] < bits_to_float(0x7f800000));
        for (int j = 0; j < listed && !all; j++)
        {
            if (lists.scores[i][j] <= limit)
                lists.codes[i][kept++] = lists.codes[i][j];
        }
        if (kept == 1)
        {
            a.codes[(s64)row * a.levels + a.level] = lists.codes[i][0];
            continue;
        }
        OpenRow& open = a.open[atomic_add(a.open_count, 1)];
        open.row = row;
        open.count = kept == 0 ? kAllCodes : kept;
        for (int j = 0; j < kept; j++)
            open.candidates[j] = lists.codes[i][j];
    }
}
