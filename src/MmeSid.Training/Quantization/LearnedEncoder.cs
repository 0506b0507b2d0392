using MmeSid.Engine.Embeddings;
using MmeSid.Engine.Quantization;
using MmeSid.Kernels;

namespace MmeSid.Training.Quantization;

/// <summary>
/// Codes of rows by a quantizer that stands behind a learned encoder: the network in float32 on the CPU, then the exact search of a backend
/// among what it made of the rows. Needs no libtorch.
/// <para>
/// The same rows get the same codes on processors with the same instruction set, however they are batched, whatever the number of threads and the backend. The network's float32 sums round
/// differently elsewhere, so learned encoders stand outside the promise that codes are the same everywhere, bit for bit; the search behind them keeps it.
/// </para>
/// Memory is bounded: rows go through in chunks of at most 32 MB of encoded values. Thread-safe.
/// </summary>
public sealed class LearnedEncoder : IQuantizerEncoder
{
    private const long kBytesPerChunk = 32 << 20;

    private readonly NetworkEvaluation? _network;
    private readonly int _rowsPerChunk;

    /// <summary>Prepares the networks and the search.</summary>
    /// <param name="quantizer">Of a learned kind.</param>
    /// <param name="network">The encoder before it.</param>
    /// <param name="backend">Where the search among encoded rows runs.</param>
    /// <param name="beam">Beam width ≥ 1 of the search; hvq, whose levels are searched one after the other, takes 1 only.</param>
    /// <param name="threads">Of the networks, 0 for all cores; the backend has its own count.</param>
    /// <exception cref="ArgumentException">Encoder and quantizer do not fit, or the beam is not possible.</exception>
    public LearnedEncoder(Quantizer quantizer, EncoderNetwork network, IBackend backend, int beam = 1, int threads = 0)
    {
        ArgumentNullException.ThrowIfNull(quantizer);
        ArgumentNullException.ThrowIfNull(network);
        ArgumentNullException.ThrowIfNull(backend);
        network.RequireFit(quantizer);
        bool hierarchical = network.Kind == EncoderKind.Hierarchical;
        if (beam < 1 || (hierarchical && beam > 1))
            throw new ArgumentException($"beam is {beam}, expected {(hierarchical ? "1: hvq searches its levels one after the other" : "at least 1")}", nameof(beam));
        ArgumentOutOfRangeException.ThrowIfNegative(threads);
        Quantizer = quantizer;
        Dimension = network.InputDimension;
        long block = sizeof(float) * (long)network.CodeWidth * NetworkEvaluation.RowsPerBlock;
        _rowsPerChunk = (int)(Math.Max(1, kBytesPerChunk / block) * NetworkEvaluation.RowsPerBlock);
        IReadOnlyList<LinearLayer> layers = hierarchical ? [] : network.Networks[0];
        if (layers.Count + network.Projections.Count > 0)
            _network = new NetworkEvaluation(layers, network.Projections, network.Description.FusionWeights, threads);
        Search = hierarchical ? new HierarchicalSearch(quantizer, network, backend, threads, _rowsPerChunk) : quantizer.CreateEncoder(backend, beam, threads);
    }

    /// <inheritdoc/>
    public Quantizer Quantizer { get; }

    /// <summary>Length of the rows before the network, d.</summary>
    public int Dimension { get; }

    /// <inheritdoc/>
    public string Screen => Search.Screen;

    /// <inheritdoc/>
    public int CallsAtOnce => 1;

    /// <summary>
    /// The search alone: codes of rows that <see cref="EncodeRows"/> or <see cref="EncodeTable"/> encoded already. Belongs to this object.
    /// </summary>
    public IQuantizerEncoder Search { get; }

    /// <inheritdoc/>
    public IDisposable? Pin(RowMatrix rows) => null;

    /// <summary>
    /// What is quantized: the encoder's output z, or under hvq the row x_1 before the first level (after the fusion of its parts). SIDs stand for vectors of
    /// this space.
    /// </summary>
    /// <param name="rows">[n, d], finite values.</param>
    /// <param name="encoded">[n, code width].</param>
    /// <exception cref="ArgumentException">A length does not fit, or a value is NaN or infinite (row and column named).</exception>
    /// <exception cref="UnfitRowException">A row overflows float32 in the network.</exception>
    public void EncodeRows(RowView rows, Span<float> encoded)
    {
        int width = Quantizer.Dimension;
        RequireDimension(rows, Dimension);
        if (encoded.Length != (long)rows.Count * width)
            throw new ArgumentException($"{rows.Count} encoded rows of {width} values need {(long)rows.Count * width}, the span has {encoded.Length}", nameof(encoded));
        for (int row = 0; row < rows.Count; row++)
        {
            ReadOnlySpan<float> values = rows[row];
            for (int column = 0; column < values.Length; column++)
            {
                if (!float.IsFinite(values[column]))
                    throw new ArgumentException($"row {row}, column {column} is {values[column]}, expected a finite value", nameof(rows));
            }
            if (_network is null)
                values.CopyTo(encoded[(row * width)..]);
        }
        _network?.Apply(rows, encoded);
    }

    /// <summary>The encoded rows of a table as a table, [n, code width], encoded whenever they are read. The rows stay open and are the caller's.</summary>
    /// <param name="rows">[n, d].</param>
    /// <exception cref="ArgumentException">The rows have another dimension.</exception>
    public EmbeddingTable EncodeTable(EmbeddingTable rows) => new EncodedTable(rows, this);

    /// <inheritdoc/>
    public EncodeReport Encode(RowView rows, Span<ushort> codes, Span<float> squaredErrors = default)
    {
        int levels = Quantizer.Levels;
        Check(rows, Dimension, levels, codes, squaredErrors);
        EncodeReport report = default;
        int chunk = Math.Min(_rowsPerChunk, rows.Count);
        using var encoded = new RowMatrix(chunk, Quantizer.Dimension);
        for (int first = 0; first < rows.Count; first += chunk)
        {
            int count = Math.Min(chunk, rows.Count - first);
            try
            {
                EncodeRows(rows.Slice(first, count), encoded.Rows(0, count));
                report += Search.Encode(encoded.View(0, count), codes.Slice(first * levels, count * levels), squaredErrors.IsEmpty ? default : squaredErrors.Slice(first, count));
            }
            catch (UnfitRowException unfit) when (first > 0)
            {
                throw new UnfitRowException(first + unfit.Row, unfit.Problem);
            }
        }
        return report;
    }

    /// <summary>Frees the networks and the search.</summary>
    public void Dispose()
    {
        _network?.Dispose();
        Search.Dispose();
    }

    /// <summary>Refuses spans that do not fit the rows.</summary>
    internal static void Check(RowView rows, int dimension, int levels, ReadOnlySpan<ushort> codes, ReadOnlySpan<float> squaredErrors)
    {
        RequireDimension(rows, dimension);
        if (codes.Length != (long)rows.Count * levels)
            throw new ArgumentException($"{rows.Count} rows of {levels} levels need {(long)rows.Count * levels} codes, the span has {codes.Length}", nameof(codes));
        if (!squaredErrors.IsEmpty && squaredErrors.Length != rows.Count)
            throw new ArgumentException($"{rows.Count} rows need as many squared errors, the span has {squaredErrors.Length}", nameof(squaredErrors));
    }

    private static void RequireDimension(RowView rows, int dimension)
    {
        if (rows.Dimension != dimension)
            throw new ArgumentException($"the encoder takes rows of dimension {dimension}, rows have {rows.Dimension}", nameof(rows));
    }

    /// <summary>A table whose rows pass the encoder when they are read.</summary>
    private sealed class EncodedTable : EmbeddingTable
    {
        private readonly EmbeddingTable _rows;
        private readonly LearnedEncoder _encoder;

        public EncodedTable(EmbeddingTable rows, LearnedEncoder encoder)
        {
            ArgumentNullException.ThrowIfNull(rows);
            if (rows.Dimension != encoder.Dimension)
                throw new ArgumentException($"{rows.Name}: rows have dimension {rows.Dimension}, the encoder takes {encoder.Dimension}", nameof(rows));
            (_rows, _encoder) = (rows, encoder);
        }

        public override string Name => _rows.Name;

        public override long Count => _rows.Count;

        public override int Dimension => _encoder.Quantizer.Dimension;

        public override ItemIds Items => _rows.Items;

        public override string Place(long row) => _rows.Place(row);

        protected override void ReadRows(long firstRow, int rows, Span<float> destination)
        {
            int chunk = Math.Min(rows, NetworkEvaluation.RowsPerBlock);
            using var block = new RowMatrix(chunk, _rows.Dimension);
            for (int first = 0; first < rows; first += chunk)
            {
                int count = Math.Min(chunk, rows - first);
                _rows.Read(firstRow + first, count, block.Rows(0, count));
                try
                {
                    _encoder.EncodeRows(block.View(0, count), destination.Slice(first * Dimension, count * Dimension));
                }
                catch (UnfitRowException unfit)
                {
                    throw new InvalidDataException($"{Place(firstRow + first + unfit.Row)} {unfit.Problem}", unfit);
                }
            }
        }

        protected override void Dispose(bool disposing)
        {
        }
    }
}
