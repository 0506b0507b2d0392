// plain-products: x_i · y_j of two sets of rows and nothing else, what the time of an operation over pairs is compared with. For benches.
//   in    rows (n, d), columns (m, d) f32
//   out   one value per thread of a block, so that nothing is optimised away
//   work  as mmd_sums: a block owns a tile of rows and a part of the column tiles; of one set, the tiles on and above the diagonal
//   cost  2·n·m·d flop, half of it for one set

#include "products.h"

struct PlainProductsArguments
{
    const float* rows;    // [row_count, depth]
    const float* columns; // [column_count, depth]
    float* results;       // [column parts, row tiles, kTileThreads]
    int row_count;
    int column_count;
    int depth;
    int tiles_per_part;
    int one_set;          // rows and columns are the same
};

KERNEL(kTileThreads) plain_products(PlainProductsArguments a)
{
    ProductTiles& tiles = *(ProductTiles*)shared_memory();
    Operand rows{a.rows, a.row_count, a.depth}, columns{a.columns, a.column_count, a.depth};
    int first_row = block_index() * kTileRows;
    int first = block_index_y() * a.tiles_per_part * kTileColumns, end = smaller(first + a.tiles_per_part * kTileColumns, a.column_count);
    if (a.one_set && first < first_row)
        first = first_row;
    float sum = 0;
    for (int first_column = first; first_column < end; first_column += kTileColumns)
    {
        float values[kPerThread][kPerThread];
        multiply<false>(tiles, nullptr, rows, first_row, columns, first_column, values);
#pragma unroll
        for (int i = 0; i < kPerThread; i++)
#pragma unroll
            for (int j = 0; j < kPerThread; j++)
                sum += values[i][j];
    }
    a.results[((s64)block_index_y() * grid_size() + block_index()) * kTileThreads + thread_index()] = sum;
}
EXPORT(plain_products)
