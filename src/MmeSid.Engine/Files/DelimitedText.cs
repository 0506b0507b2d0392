using System.Text;
using CsvHelper;

namespace MmeSid.Engine.Files;

/// <summary>
/// A table as text with a line of column names. <c>.tsv</c>: fields end at tabs and quotes mean nothing; everything else: commas, fields may
/// be quoted as RFC 4180 says.
/// </summary>
internal sealed class DelimitedText : IDisposable
{
    // A record longer than this is taken for a missing quote or line end; it bounds what a corrupt file can make us allocate.
    private const int kMaximumRecordBytes = 1 << 28;

    private readonly string _path;
    private readonly CsvReader _reader;

    public DelimitedText(string path)
        : this(path, System.IO.Path.GetExtension(path).Equals(".tsv", StringComparison.OrdinalIgnoreCase))
    {
    }

    /// <summary>Opens a table whose fields end at tabs, or at commas, whatever its name.</summary>
    public DelimitedText(string path, bool tabs)
    {
        _path = path;
        var text = new StreamReader(path, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true), detectEncodingFromByteOrderMarks: true, 1 << 16);
        _reader = CsvReader.Create(text, new CsvReaderOptions
        {
            Separator = tabs ? '\t' : ',',
            Mode = tabs ? CsvMode.NoEscape : CsvMode.Rfc4180,
            HasHeader = false,
            MalformedData = CsvMalformedDataHandling.Throw,
            MaxRecordSize = kMaximumRecordBytes,
            TrackLineNumbers = true,
        });
        try
        {
            if (!ReadLine())
                throw new InvalidDataException($"{path}: is empty, expected a line of column names");
            var columns = new string[_reader.FieldCount];
            for (int i = 0; i < columns.Length; i++)
                columns[i] = _reader.GetString(i).Trim();
            Columns = columns;
            string? twice = columns.GroupBy(name => name, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1)?.Key;
            if (twice is not null)
                throw new InvalidDataException($"{path}: has two columns called '{twice}'");
        }
        catch
        {
            _reader.Dispose();
            throw;
        }
    }

    /// <summary>Column names, each once.</summary>
    public IReadOnlyList<string> Columns { get; }

    /// <summary>How messages name the current record: file and line, counted from 1.</summary>
    public string Place => $"{_path}: line {_reader.LineNumber}";

    /// <summary>Field of the current record.</summary>
    public string this[int column] => _reader.GetString(column);

    /// <summary>Column number of a name that exists.</summary>
    public int IndexOf(string column) => Columns.TakeWhile(name => name != column).Count();

    /// <summary>Moves to the next record; false at the end.</summary>
    /// <exception cref="InvalidDataException">It has another number of fields than there are columns, or the text is corrupt.</exception>
    public bool Read()
    {
        if (!ReadLine())
            return false;
        if (_reader.FieldCount != Columns.Count)
            throw new InvalidDataException($"{Place}: has {_reader.FieldCount} fields, expected {Columns.Count} as in the line of column names");
        return true;
    }

    public void Dispose() => _reader.Dispose();

    private bool ReadLine()
    {
        try
        {
            return _reader.Read();
        }
        catch (DecoderFallbackException exception)
        {
            throw new InvalidDataException($"{_path}: is no UTF-8 text", exception);
        }
        catch (CsvFormatException exception)
        {
            throw new InvalidDataException($"{_path}: line {exception.LineNumber}: {exception.Message}", exception);
        }
    }
}
