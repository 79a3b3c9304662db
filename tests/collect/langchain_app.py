"""An application as it stands in the world: LangChain, OpenInference, and the OpenTelemetry SDK's own exporter."""

import sys

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableLambda, RunnablePassthrough
from openinference.instrumentation.langchain import LangChainInstrumentor
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

PASSAGES = {"kb-12": "Refunds are made within 30 days.", "kb-2": "Postage is free."}


class Shelf(BaseRetriever):
    """Finds everything."""

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [Document(page_content=text, metadata={"doc_id": name}) for name, text in PASSAGES.items()]


def numbered(documents: list[Document]) -> str:
    return "\n\n".join(f"[{n}] {document.page_content}" for n, document in enumerate(documents, start=1))


def main(endpoint: str, token: str, batch: int, questions: list[str]) -> None:
    provider = TracerProvider()
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    exporter = OTLPSpanExporter(endpoint, compression=Compression.Gzip, headers=headers)
    provider.add_span_processor(BatchSpanProcessor(exporter, max_export_batch_size=batch))
    LangChainInstrumentor().instrument(tracer_provider=provider)
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Use the passages."), ("user", "Context:\n{context}\n\nQuestion: {question}")]
    )
    model = FakeListChatModel(responses=[f"30 days [1]. ({question})" for question in questions])
    found = {"context": Shelf() | RunnableLambda(numbered), "question": RunnablePassthrough()}
    chain = found | prompt | model | StrOutputParser()
    with provider.get_tracer("web").start_as_current_span("GET /health"):
        pass  # a span of an ordinary library
    for question in questions:
        chain.invoke(question)
    provider.shutdown()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4:])
