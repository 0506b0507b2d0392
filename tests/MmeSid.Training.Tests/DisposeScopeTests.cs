using System.Runtime.CompilerServices;
using TorchSharp.Modules;

namespace MmeSid.Training.Tests;

public sealed class DisposeScopeTests
{
    public DisposeScopeTests() => Libtorch.Require();

    [Fact]
    public void AScopeDisposesWhatWasMadeInIt()
    {
        Tensor inside;
        using (NewDisposeScope())
            inside = zeros(3);
        Assert.True(inside.IsInvalid);
        Assert.Throws<InvalidOperationException>(() => inside + 1);
    }

    [Fact]
    public void ATensorMovesOutwardsScopeByScope()
    {
        Tensor moved;
        using (DisposeScope outer = NewDisposeScope())
        {
            using (DisposeScope inner = NewDisposeScope())
            {
                moved = zeros(3).MoveToOuterDisposeScope();
                Assert.False(inner.Contains(moved));
            }
            Assert.False(moved.IsInvalid);
            Assert.True(outer.Contains(moved));
        }
        Assert.True(moved.IsInvalid);
    }

    [Fact]
    public void OutOfTheOutermostScopeATensorIsTheCallersOwn()
    {
        Tensor moved, detached;
        using (NewDisposeScope())
        {
            moved = zeros(3).MoveToOuterDisposeScope();
            detached = ones(3).DetachFromDisposeScope();
        }
        Assert.Equal(3, (moved + detached).sum().item<float>());
        moved.Dispose();
        detached.Dispose();
    }

    [Fact]
    public void ATensorFollowsAnotherOne()
    {
        using DisposeScope outer = NewDisposeScope();
        Tensor first = zeros(1);
        using (NewDisposeScope())
        {
            Tensor second = zeros(1).MoveToOtherDisposeScope(first);
            Assert.True(outer.Contains(second));
        }
        Assert.Equal(2, outer.DisposablesCount);
    }

    [Fact]
    public void AttachingTakesATensorOutOfItsScope()
    {
        using DisposeScope outer = NewDisposeScope();
        Tensor tensor = zeros(1);
        using (DisposeScope inner = NewDisposeScope())
        {
            inner.Attach(tensor);
            Assert.False(outer.Contains(tensor));
            Assert.True(inner.Contains(tensor));
        }
        Assert.True(tensor.IsInvalid);
        Assert.Equal(0, outer.DisposablesCount);
    }

    [Fact]
    public void EverythingButOneCanGo()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor gone = zeros(1), kept = zeros(1);
        scope.DisposeEverythingBut(kept);
        Assert.True(gone.IsInvalid);
        Assert.False(kept.IsInvalid);
        Assert.Equal(1, scope.DisposablesCount);
    }

    [Fact]
    public void ADisposedTensorLeavesItsScope()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor tensor = zeros(1);
        tensor.Dispose();
        tensor.Dispose();
        Assert.Equal(0, scope.DisposablesCount);
    }

    [Fact]
    public void AParameterTakesThePlaceOfItsTensor()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor tensor = zeros(2);
        var parameter = new Parameter(tensor);
        Assert.True(tensor.IsInvalid);
        Assert.True(scope.Contains(parameter));
        Assert.False(scope.Contains(tensor));
        Assert.True(parameter.requires_grad && parameter.is_leaf);
    }

    [Fact]
    public void ScopesBelongToTheirThread()
    {
        using DisposeScope scope = NewDisposeScope();
        Tensor? elsewhere = null;
        var thread = new Thread(() => elsewhere = zeros(1));
        thread.Start();
        thread.Join();
        Assert.Equal(0, scope.DisposablesCount);
        elsewhere!.Dispose();
    }

    [Fact]
    public void WhatTheCollectorFindsIsFreed()
    {
        Libtorch.FreeTheForgotten();
        long before = Tensor.TotalCount;
        Forget();
        Libtorch.FreeTheForgotten();
        Assert.Equal(before, Tensor.TotalCount);

        [MethodImpl(MethodImplOptions.NoInlining)]
        static void Forget()
        {
            for (int i = 0; i < 10; i++)
                zeros(100);
        }
    }

    [Fact]
    public void AThousandStepsLeaveNothingBehind()
    {
        Libtorch.FreeTheForgotten();
        using Sequential model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 3));
        using AdamW optimizer = optim.AdamW(model.parameters(), lr: 1e-3, weight_decay: 1e-4);
        using Tensor inputs = randn(32, 8), labels = randint(3, [32]);
        long afterTheFirst = 0;
        for (int step = 0; step < 1000; step++)
        {
            // These clean up after themselves.
            optimizer.zero_grad();
            using (NewDisposeScope())
                nn.functional.cross_entropy(model.call(inputs), labels).backward();
            nn.utils.clip_grad_norm_(model.parameters(), 1.0);
            optimizer.step();
            if (step == 0)
                afterTheFirst = Tensor.TotalCount;
            Assert.Equal(afterTheFirst, Tensor.TotalCount);
        }
    }
}
