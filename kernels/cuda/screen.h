// What follows the products in every screen: a row's candidates are the codes whose score is within the row's margin of its smallest score.
// The smallest score is not known until the last codeword has passed, so codes within the margin of the smallest so far are listed, and
// those that a later score puts outside are dropped at the end. A list that overflows means all codes.
// Levels that share an operand follow one another in one launch: a row that stays open goes on with its likeliest code, and recheck sees to it
// that nothing stands on one that was wrong.
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
DEVICE void begin(CandidateLists<Rows>& lists, const ScreenArguments& a, int served, const ScreenLevel& level, int first_row)
{
    for (int i = thread_index(); i < Rows; i += block_size())
    {
        bool inside = first_row + i < a.count;
        lists.smallest[i] = 0xffffffffu;
        lists.counts[i] = 0;
        lists.margins[i] = inside ? a.margins[(s64)served * a.count + first_row + i] : 0;
        lists.scales[i] = inside ? a.scales[first_row + i] * level.codeword_scale : 0;
    }
    sync_block();
}

/// T_t[k_t, ·], which the scores of a row take besides β[k] + scale · product.
DEVICE const float* table_row(const ScreenLevel& level, const u16* chosen, int t) { return level.tables[t] + (s64)chosen[t] * level.padded_codes; }

/// Lists a code whose score is within the margin of the smallest so far, or no number.
template <int Rows>
DEVICE void offer(CandidateLists<Rows>& lists, int i, int code, float score, float limit)
{
    if (score > limit)
        return;
    int place = shared_add(&lists.counts[i], 1);
    if (place < kCandidates)
    {
        lists.scores[i][place] = score;
        lists.codes[i][place] = (u16)code;
    }
}

/// Writes the codes that are proven, and of the rows that stay open the likeliest.
template <int Rows>
DEVICE void end(CandidateLists<Rows>& lists, const ScreenArguments& a, int level, int first_row)
{
    sync_block();
    for (int i = thread_index(); i < Rows && first_row + i < a.count; i += block_size())
    {
        int row = first_row + i, listed = smaller(lists.counts[i], kCandidates), kept = 0;
        float smallest = bits_to_float(0x7f800000), limit = from_ordered(lists.smallest[i]) + lists.margins[i];
        u16 likeliest = 0;
        for (int j = 0; j < listed; j++)
        {
            u16 code = lists.codes[i][j];
            float score = lists.scores[i][j];
            if (score < smallest)
            {
                smallest = score;
                likeliest = code;
            }
            if (score <= limit)
                lists.codes[i][kept++] = code;
        }
        a.codes[(s64)row * a.total_levels + level] = likeliest;
        bool all = lists.counts[i] > kCandidates || !(lists.margins[i] < bits_to_float(0x7f800000));
        if (kept == 1 && !all)
            continue;
        OpenRow& open = a.open[(s64)level * a.open_capacity + atomic_add(&a.open_counts[level], 1)];
        open.row = row;
        open.count = all || kept == 0 ? kAllCodes : kept;
        for (int j = 0; j < kept && !all; j++)
            open.candidates[j] = lists.codes[i][j];
    }
    // The next level reads the codes, and clears the lists.
    sync_block();
}
