using MmeSid.Engine.Generation;
using MmeSid.Kernels;

namespace MmeSid.Engine.Tests.Generation;

public sealed class PackedDecoderTests
{
    private const int kDimension = 4, kSequences = 2;

    /// <summary>As few calls as fit, and of each marked entry its own hidden state, whichever call it was in.</summary>
    [Theory]
    [InlineData(1, 5, 5)]
    [InlineData(3, 6, 2)]
    [InlineData(3, 7, 3)]
    [InlineData(8, 7, 1)]
    public void Batches_are_full_and_no_fuller(int batchSize, int entries, int calls)
    {
        using var language = new RecurrentLanguageModel(kDimension);
        using ILanguageModelContext context = language.CreateContext(new() { Sequences = kSequences, Capacity = entries, BatchSize = batchSize });
        List<(int Mark, float[] Hidden)> expected = [], actual = [];
        var decoder = new PackedDecoder(context, (mark, hidden) => actual.Add((mark, hidden.ToArray())));
        double[][] states = [.. Enumerable.Range(0, kSequences).Select(_ => new double[kDimension])];
        for (int entry = 0; entry < entries; entry++)
        {
            float[] vector = language.Embedding(entry);
            ref double[] state = ref states[entry % kSequences];
            state = language.Next(state, vector);
            bool silent = entry % 3 == 1;
            decoder.Add(vector, entry % kSequences, silent ? PackedDecoder.kSilent : entry);
            if (!silent)
                expected.Add((entry, Array.ConvertAll(state, value => (float)value)));
        }
        decoder.Flush();
        // Nothing is left for a second one.
        decoder.Flush();
        Assert.Equal(calls, language.Decodes);
        Assert.Equal(expected.Select(output => output.Mark), actual.Select(output => output.Mark));
        Assert.Equal(expected.SelectMany(output => output.Hidden), actual.SelectMany(output => output.Hidden));
    }

    [Fact]
    public void What_failed_is_forgotten()
    {
        using var language = new RecurrentLanguageModel(kDimension);
        using ILanguageModelContext context = language.CreateContext(new() { Sequences = 1, Capacity = 1, BatchSize = 2 });
        List<int> marks = [];
        var decoder = new PackedDecoder(context, (mark, _) => marks.Add(mark));
        decoder.Add(language.Embedding(1), 0, mark: 1);
        language.DecodesUntilFailure = 0;
        Assert.Throws<NativeException>(decoder.Flush);
        decoder.Add(language.Embedding(2), 0, mark: 2);
        decoder.Flush();
        Assert.Equal([2], marks);
        Assert.Equal(1, context.Length(0));
    }
}
