namespace MmeSid.Kernels.Simd;

/// <summary>The buffers of one worker of an <see cref="IntegerPass"/>.</summary>
internal sealed unsafe class IntegerWorkspace : EncodeWorkspace
{
    private readonly RowMatrix? _prefixes;
    private readonly RowMatrix _tiles, _tileRows, _transposed, _integers, _products, _biases;
    private float[] _allScores = [];
    private int[] _allCodes = [];

    /// <summary>Allocates.</summary>
    /// <param name="rows">Rows of a block.</param>
    /// <param name="stride">Values between two float32 operand rows.</param>
    /// <param name="width">Values of one.</param>
    /// <param name="prefixWidth">Values of a row that is multiplied with a basis; 0 without one.</param>
    /// <param name="words">32-bit words of a row that is multiplied as integers.</param>
    /// <param name="columns">Codes whose products live at a time.</param>
    /// <param name="survivors">Codes that are kept of a row.</param>
    /// <param name="recheck">Of this worker.</param>
    public IntegerWorkspace(int rows, int stride, int width, int prefixWidth, int words, int columns, int survivors, Recheck recheck)
        : base(rows, stride, survivors, recheck)
    {
        Whole = new IntegerOperands(Rows, stride, width, Norms, Errors);
        _prefixes = prefixWidth == 0 ? null : new RowMatrix(rows, prefixWidth);
        Screened = _prefixes is null ? Whole : new IntegerOperands((float*)_prefixes.DangerousGetHandle(), prefixWidth, prefixWidth, new double[rows], new double[rows]);
        WordsOfWhole = prefixWidth == 0 ? 0 : width / IntegerProduct.ValuesPerWord(IntegerFormat.Int8);
        _integers = new RowMatrix(rows, Math.Max(1, WordsOfWhole));
        _tiles = new RowMatrix(rows, words);
        // With a basis whole rows pass through these too, as int16.
        int mostWords = prefixWidth == 0 ? words : Math.Max(words, width / IntegerProduct.ValuesPerWord(IntegerFormat.Int16));
        _tileRows = new RowMatrix(Product.kRowsPerTile, mostWords);
        _transposed = new RowMatrix(Product.kRowsPerTile, prefixWidth == 0 ? 1 : mostWords);
        _products = new RowMatrix(Product.kRowsPerTile, Math.Max(columns, prefixWidth));
        _biases = new RowMatrix(1, columns);
        Outside = new float[rows];
        Likeliest = new float[rows];
    }

    /// <summary>The rows r̂.</summary>
    public IntegerOperands Whole { get; }

    /// <summary>The rows whose integers are multiplied with all codewords: P r̂ with a basis, else r̂.</summary>
    public IntegerOperands Screened { get; }

    /// <summary>At least the norm of each row's part outside of the basis.</summary>
    public float[] Outside { get; }

    /// <summary>The smallest score of each row so far, by integers of a prefix.</summary>
    public float[] Likeliest { get; }

    /// <summary>Words of a row of <see cref="Integers"/>.</summary>
    public int WordsOfWhole { get; }

    /// <summary>Integer rows of a tile before they are transposed, [24, words].</summary>
    public int* TileRows => (int*)_tileRows.DangerousGetHandle();

    /// <summary>The same transposed, where rows are multiplied with a basis.</summary>
    public int* Transposed => (int*)_transposed.DangerousGetHandle();

    /// <summary>Products, then scores, of a tile and a chunk of codes, [24, columns].</summary>
    public int* Products => (int*)_products.DangerousGetHandle();

    /// <summary>A row's biases and tables, [columns].</summary>
    public float* Biases => (float*)_biases.DangerousGetHandle();

    /// <summary>Integer rows of a tile, [words][24].</summary>
    public int* Tile(int tile) => (int*)_tiles.DangerousGetHandle() + (nint)tile * Product.kRowsPerTile * (nint)_tiles.Dimension;

    /// <summary>With a basis: a row of <see cref="Whole"/> as integers.</summary>
    public int* Integers(int index) => (int*)_integers.DangerousGetHandle() + (nint)index * WordsOfWhole;

    /// <summary>0 … count − 1, valid until the next call, each with a score that excludes nothing.</summary>
    public Span<int> AllCodes(int count, out Span<float> scores)
    {
        if (_allCodes.Length < count)
            (_allCodes, _allScores) = (new int[count], new float[count]);
        for (int i = 0; i < count; i++)
            _allCodes[i] = i;
        scores = _allScores.AsSpan(0, count);
        scores.Fill(float.NegativeInfinity);
        return _allCodes.AsSpan(0, count);
    }

    public override void Dispose()
    {
        base.Dispose();
        _prefixes?.Dispose();
        _tiles.Dispose();
        _tileRows.Dispose();
        _transposed.Dispose();
        _integers.Dispose();
        _products.Dispose();
        _biases.Dispose();
    }
}
