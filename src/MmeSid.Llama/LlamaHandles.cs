using System.Runtime.InteropServices;

namespace MmeSid.Llama;

/// <summary>A loaded model; its adapters are freed with it.</summary>
internal sealed class ModelHandle() : SafeHandle(0, ownsHandle: true)
{
    public override bool IsInvalid => handle == 0;

    protected override bool ReleaseHandle()
    {
        LlamaNative.llama_model_free(handle);
        return true;
    }
}

/// <summary>A context, which keeps its model alive.</summary>
internal sealed class ContextHandle() : SafeHandle(0, ownsHandle: true)
{
    private ModelHandle? _model;

    public override bool IsInvalid => handle == 0;

    public void Hold(ModelHandle model)
    {
        bool added = false;
        model.DangerousAddRef(ref added);
        _model = model;
    }

    protected override bool ReleaseHandle()
    {
        LlamaNative.llama_free(handle);
        _model?.DangerousRelease();
        return true;
    }
}
