using MmeSid.Engine.Files;

namespace MmeSid.Training.Tests;

public sealed class TensorFileTests : IDisposable
{
    private readonly DisposeScope _scope;
    private readonly string _path = Path.GetTempFileName();

    public TensorFileTests()
    {
        Libtorch.Require();
        _scope = NewDisposeScope();
    }

    public void Dispose()
    {
        _scope?.Dispose();
        File.Delete(_path);
    }

    /// <summary>Values go through memory in blocks of 2²⁰: one value less than a block, a block, one more and several blocks.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData((1 << 20) - 1)]
    [InlineData(1 << 20)]
    [InlineData((1 << 20) + 1)]
    [InlineData((3 << 20) + 7)]
    public void TensorsOfAnySizeComeBackBitForBit(long count)
    {
        manual_seed(1);
        Tensor numbers = arange(0, count, ScalarType.Int64), half = randn(count).to(ScalarType.BFloat16), turned = randn(2, count).t();
        TensorFile.Save(_path, [("numbers", numbers), ("half", half), ("turned", turned), ("scalar", tensor(3.0)), ("none", zeros(0, 4))]);
        using SafetensorsFile file = SafetensorsFile.Open(_path);
        Dictionary<string, Tensor> loaded = TensorFile.Load(file);
        Assert.Equal(5, loaded.Count);
        foreach ((string name, Tensor expected) in ((string, Tensor)[])[("numbers", numbers), ("half", half), ("turned", turned), ("scalar", tensor(3.0)), ("none", zeros(0, 4))])
        {
            Assert.Equal((expected.dtype, string.Join(',', expected.shape)), (loaded[name].dtype, string.Join(',', loaded[name].shape)));
            Assert.Equal(expected.contiguous().bytes.ToArray(), loaded[name].bytes.ToArray());
        }
    }
}
